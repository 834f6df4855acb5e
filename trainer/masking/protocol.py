"""What decides which patches are hidden. True = hidden, everywhere in this package.

Letters: b samples, l patches of the grid, row by row, d width of the tokens.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import floor
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

DIGITS = 1e-6
"""What a number of patches may lack and is still whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patches:
    """What a masking may look at.

    tokens: float bld, patch embeddings with their positions, before any block; detached, so that no gradient flows
    through the choice. grid_hw: rows and columns of the grid, l = rows * columns. chance: int64 b
    (trainer.data.chance). progress: share of the training already done, in [0, 1). losses: float bl, what the model
    expects to lose on each patch, for those that ask; None where nobody predicts it.
    """

    tokens: Tensor
    grid_hw: tuple[int, int]
    chance: Tensor
    progress: float = 0.0
    losses: Tensor | None = None

    def __post_init__(self) -> None:
        b, count, _ = self.tokens.shape
        assert count == self.grid_hw[0] * self.grid_hw[1], (count, self.grid_hw)
        assert self.chance.shape == (b,), self.chance.shape


class Masking(Protocol):
    """Chooses what is hidden; a pure function of what it is given."""

    def bounds(self, count: int) -> tuple[int, int]:
        """(fewest, most) patches that are ever hidden of `count`; 1 <= fewest <= most < count.

        Known before any image is seen, so that lists of visible patches have a fixed length and the host never waits
        for the device. They differ where the ratio is each image's own.
        """
        ...

    def __call__(self, patches: Patches) -> Tensor:
        """bool bl, True = hidden; in each row as many as `bounds` allows."""
        ...


class Ratio(Protocol):
    """How many patches each image hides, where that may hang on what is salient in it."""

    def bounds(self, count: int) -> tuple[int, int]:
        """As `Masking.bounds`."""
        ...

    def counts(self, salience: Tensor) -> int | Tensor:
        """Salience bl in [0, 1] -> an int for all, or int64 b, within `bounds`; no number is read on the host."""
        ...


@runtime_checkable
class Telling(Protocol):
    """A masking that tells how it chose, for the log."""

    def told(self, patches: Patches) -> tuple[Tensor, Mapping[str, Tensor]]:
        """What calling it gives, and by name numbers of each sample, float b; the same names at every step."""
        ...


def hidden_count(ratio: float, count: int) -> int:
    """How many of `count` patches a ratio hides: at least one, and at least one stays visible.

    Of the visible ones a fraction is cut off, as MAE and SBAM do, but not one that is whole but for its last binary
    digits: of 20 patches 0.8 leaves 4, where 20 * (1 - 0.8) is 3.9999999999999991.
    """
    return min(max(count - floor(count * (1.0 - ratio) + DIGITS), 1), count - 1)


def hide_highest(scores: Tensor, hidden: int | Tensor) -> Tensor:
    """bool bl: the `hidden` highest of `scores` bl in each row (an int, or int64 b); ties go to later patches."""
    order = scores.argsort(dim=1, stable=True)
    least = scores.shape[1] - hidden
    rank = torch.arange(scores.shape[1], device=scores.device)
    high = rank >= (least if isinstance(least, int) else least[:, None])
    return torch.empty_like(order, dtype=torch.bool).scatter_(1, order, high.expand_as(order))
