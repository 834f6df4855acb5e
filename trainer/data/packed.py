"""A batch on its way between processes, in one piece of memory.

Tensors travel through shared memory, and each piece of it costs the receiver a handshake with a thread of a busy
sender, while training waits: on a busy machine a small model waited 8.7 % of its time for a dozen tensors apart and
4.5 % for the same in one piece (benchmarks/loader.py). Page-locking one piece is cheaper too.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from trainer.data.batch import Batch

ALIGNED = 64
"""Bytes: what every tensor's place in the piece is a multiple of."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the bytes of one tensor lie in the piece."""

    start: int
    dtype: torch.dtype
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Packed:
    """A batch: `memory` (uint8) holds its tensors; `values` its fields, with a `Place` for each tensor."""

    memory: Tensor
    values: dict[str, Any]

    def unpack(self) -> Batch:
        """The batch, its tensors views of `memory`."""
        found: dict[str, Any] = {
            name: self._at(value) if isinstance(value, Place) else value
            for name, value in self.values.items()
        }
        return Batch(**found)

    def pin_memory(self) -> "Packed":
        """The same in page-locked memory, from which a GPU copies by itself."""
        return replace(self, memory=self.memory.pin_memory())

    def _at(self, place: Place) -> Tensor:
        size = place.dtype.itemsize
        for side in place.shape:
            size *= side
        return self.memory[place.start : place.start + size].view(place.dtype).view(place.shape)


def pack(batch: Batch) -> Packed:
    """`batch` with copies of its tensors in one piece."""
    values = {field.name: getattr(batch, field.name) for field in fields(batch)}
    end, places = 0, {}
    for name, value in values.items():
        if isinstance(value, Tensor):
            places[name] = Place(end, value.dtype, tuple(value.shape))
            end += -(-value.nbytes // ALIGNED) * ALIGNED
    packed = Packed(torch.empty(end, dtype=torch.uint8), {**values, **places})
    for name, place in places.items():
        packed._at(place).copy_(values[name])
    return packed
