"""A batch on its way to the model: moved to the device, and cut into equal parts.

Parts take turns like the processes' shares (trainer.data.share), so that each has the same mix of gold and machine
samples whatever their order in the batch.
"""

from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

B = TypeVar("B")


def moved(batch: B, device: torch.device, *, channels_last: bool = False) -> B:
    """`batch`, a dataclass, with its tensors on `device`; copies from pinned memory do not make the host wait.

    channels_last: lay out its tensors of four axes with channels innermost.
    """
    if device.type == "cpu" and not channels_last:
        return batch

    def place(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        layout = torch.channels_last if channels_last and value.ndim == 4 else torch.preserve_format
        return value.to(device, non_blocking=True, memory_format=layout)

    return _changed(batch, place)


def parts(batch: B, count: int) -> Sequence[B]:
    """`batch`, a dataclass of tensors and tuples with one entry per sample, as `count` batches of equal size.

    Raises:
        ValueError: the samples do not divide into that many.
    """
    if count == 1:
        return [batch]
    size = samples_of(batch)
    if size % count:
        raise ValueError(
            f"optim.accumulate is {count} and a process has {size} samples of a batch; set data.batch to a multiple "
            "of processes times optim.accumulate"
        )

    def part(index: int) -> B:
        return _changed(batch, lambda v: v[index::count] if isinstance(v, Tensor | tuple) else v)

    return [part(index) for index in range(count)]


def samples_of(batch: Any) -> int:
    """How many samples a batch has."""
    return len(batch.ids)


def _changed(batch: B, change: Any) -> B:
    assert is_dataclass(batch), type(batch)
    assert not isinstance(batch, type), batch
    values = {field.name: change(getattr(batch, field.name)) for field in fields(batch)}
    return replace(batch, **values)
