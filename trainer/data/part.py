"""Some samples of a dataset as a store of their own, such as the folds that a discriminator learns from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.data.protocol import Frames, Store

T = TypeVar("T")


class Picked(Sequence[T]):
    """The items of `whole` at `rows`, in that order; none is copied."""

    def __init__(self, whole: Sequence[T], rows: NDArray[np.int64]) -> None:
        self._whole = whole
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        if isinstance(index, slice):
            return [self._whole[row] for row in self._rows[index].tolist()]
        return self._whole[int(self._rows[index])]

    def __iter__(self) -> Iterator[T]:
        return (self._whole[row] for row in self._rows.tolist())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """The samples of `store` at `rows` (int64 k), in that order; implements `trainer.data.protocol.Store`."""

    store: Store
    rows: NDArray[np.int64]

    @property
    def ids(self) -> Sequence[str]:
        """Of the rows."""
        return Picked(self.store.ids, self.rows)

    @property
    def instructions(self) -> Sequence[tuple[str, ...]]:
        """Of the rows."""
        return Picked(self.store.instructions, self.rows)

    @property
    def shas(self) -> Sequence[str]:
        """Of the rows."""
        return Picked(self.store.shas, self.rows)

    @property
    def shard_of(self) -> Tensor:
        """Of the rows, numbered as in the store."""
        return self._of(self.store.shard_of)

    @property
    def is_gold(self) -> Tensor:
        """Of the rows."""
        return self._of(self.store.is_gold)

    @property
    def p_clean(self) -> Tensor:
        """Of the rows."""
        return self._of(self.store.p_clean)

    @property
    def weight(self) -> Tensor:
        """Of the rows."""
        return self._of(self.store.weight)

    @property
    def size_hw(self) -> tuple[int, int]:
        """As of the store."""
        return self.store.size_hw

    def __len__(self) -> int:
        return len(self.rows)

    def frames(self, rows: NDArray[np.int64]) -> Frames:
        """The pixels of `rows` of this part, in that order; raises what the store raises."""
        return self.store.frames(self.rows[rows])

    def _of(self, column: Tensor) -> Tensor:
        return column[torch.from_numpy(self.rows)]
