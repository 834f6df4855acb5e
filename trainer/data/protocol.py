"""What a dataset offers to those who draw batches from it, wherever its pixels lie: a row of small facts for every
sample in memory, and the pixels of the rows that are asked for.

Stores of the same dataset folder and training frame give the same numbers bit for bit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Frames:
    """Pixels of b samples in the training frame. image: uint8 b3hw RGB. target, label: uint8 bhw (see `Store`)."""

    image: Tensor
    target: Tensor
    label: Tensor


class Store(Protocol):
    """n samples in dataset order.

    ids, shas (of the image as received): n texts. instructions: the phrasings of each sample. shard_of: int32 n, the
    number of each sample's shard. is_gold: bool n, whether the target is a gold mask (else it is the machine's label).
    p_clean, weight: float32 n from the weights sidecar, ones without one. size_hw: the training frame.
    """

    @property
    def ids(self) -> Sequence[str]: ...
    @property
    def instructions(self) -> Sequence[tuple[str, ...]]: ...
    @property
    def shas(self) -> Sequence[str]: ...
    @property
    def shard_of(self) -> Tensor: ...
    @property
    def is_gold(self) -> Tensor: ...
    @property
    def p_clean(self) -> Tensor: ...
    @property
    def weight(self) -> Tensor: ...
    @property
    def size_hw(self) -> tuple[int, int]: ...
    def __len__(self) -> int: ...
    def frames(self, rows: NDArray[np.int64]) -> Frames:
        """The pixels of `rows`, in that order.

        Raises:
            ValueError: a shard is damaged.
        """
        ...
