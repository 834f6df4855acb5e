"""Hides parts of the features from the decoder while it learns (IMAGE, arXiv 2410.03161), around any objective.

A model encodes image and text, its maps are masked, and it decodes what is left: F' = M * F with M = 1 - (1 - k) S,
where S is the strength of the mask in [0, 1]. Salient places go first (`threshold`, `rf-gam`), or any (`random`, the
control). Masking grows harder along the training: k falls from k0 to 0 and the ratios rise, coarse levels ahead of fine
ones. The loss stays the objective's own; nothing is reconstructed. An objective that is not in training mode, and
everything that asks a trained model, meets the features as they are.

The paper masks the levels of a Swin pyramid for detection; that the maps are those of `Features`, that each level's
patches are at most so many (averages over square cells, so that the price does not grow with the frame), that a
patch's places share its strength, that the ratios rise in a line, and that masking goes on to the end are ours.

Letters: b samples, c channels, r s of a level, l patches, d = c.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import ceil
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from trainer.data.batch import Batch
from trainer.data.chance import uniform
from trainer.masking.attention import alike, column_means, or_by_chance
from trainer.masking.gaussian_field import lit, residual, visibility
from trainer.masking.protocol import hidden_count, hide_highest
from trainer.models.protocol import Features
from trainer.objectives.config import HideConfig
from trainer.objectives.protocol import Step

STREAM = 3
"""Of the chance that hides (trainer.data.chance)."""


class FeatureMask:
    """Masks the maps of features.

    Levels that have as many patches are worked on together: this runs in every step, and its operations are so small
    that their number is what costs.

    Args:
        config: what is hidden and how much.
        levels: how many maps the features have.

    Raises:
        ValueError: there are fewer ratios than levels.
    """

    def __init__(self, config: HideConfig, *, levels: int) -> None:
        if levels > len(config.ratios):
            raise ValueError(
                f"hide.ratios holds {len(config.ratios)} ratios {config.ratios}; the model has {levels} levels of "
                "features: give one for each, finest first"
            )
        self.config = config
        self.levels = levels

    def ratios(self, progress: float) -> tuple[float, ...]:
        """Of each level, finest first; non-decreasing along the levels and along the training."""
        grown = self.config.ratio_growth * progress
        return tuple(ratio + grown for ratio in self.config.ratios[-self.levels :])

    def strengths(self, features: Features, chance: Tensor, progress: float) -> list[Tensor]:
        """S of each level at its patches, float32 b r' s' in [0, 1].

        chance: int64 b (trainer.data.chance).
        """
        found: dict[int, Tensor] = {}
        for own, strength in self._groups(features, chance, progress):
            found |= zip(own, strength.chunk(len(own)), strict=True)
        return [found[level] for level in range(self.levels)]

    def __call__(
        self, features: Features, chance: Tensor, progress: float
    ) -> tuple[Features, Tensor]:
        """Masked features, and the share of them that is gone: scalar, mean over levels, samples and patches."""
        k = residual(progress, k0=self.config.k0)
        maps = list(features.maps)
        gone = torch.zeros((), device=chance.device)
        for own, strength in self._groups(features, chance, progress):
            gone += strength.mean() * ((1.0 - k) * len(own) / self.levels)
            stays = visibility(strength, k=k).chunk(len(own))
            for level, share in zip(own, stays, strict=True):
                wide = spread(share, maps[level], most=self.config.patches)
                maps[level] = maps[level] * wide[:, None]
        return replace(features, maps=tuple(maps)), gone

    @torch.no_grad()
    def _groups(
        self, features: Features, chance: Tensor, progress: float
    ) -> list[tuple[list[int], Tensor]]:
        """Of each grid the n levels that have it, and their S, one level below the other: (nb) r' s'."""
        pooled = [pool(level.float(), most=self.config.patches) for level in features.maps]
        grids = [(level.shape[2], level.shape[3]) for level in pooled]
        ratios = self.ratios(progress)
        drawn: Sequence[Tensor] = ()
        if self.config.kind == "random":
            sizes = [r * s for r, s in grids]
            drawn = uniform(chance, sum(sizes), stream=STREAM).split(sizes, 1)
        groups: list[tuple[list[int], Tensor]] = []
        for grid in dict.fromkeys(grids):
            own = [level for level, other in enumerate(grids) if other == grid]
            counts = [hidden_count(ratios[level], grid[0] * grid[1]) for level in own]
            strength = self._strength(
                torch.cat([drawn[i] for i in own])
                if drawn
                else self._salience([pooled[i] for i in own]),
                torch.cat([chance.new_full(chance.shape, count) for count in counts]),
                chance,
                grid,
            )
            groups.append((own, strength.unflatten(1, grid)))
        return groups

    def _salience(self, pooled: Sequence[Tensor]) -> Tensor:
        """What goes first in n levels bcr's' of one grid: (nb)l, >= 0."""
        tokens = [level.flatten(2).transpose(1, 2) for level in pooled]
        likeness = torch.cat([alike(x, similarity=self.config.similarity) for x in tokens])
        return column_means(likeness.softmax(2))

    def _strength(
        self, scores: Tensor, counts: Tensor, chance: Tensor, grid_hw: tuple[int, int]
    ) -> Tensor:
        """Of n levels that stand below one another in the batch: (nb)l of scores (nb)l, counts nb and chance b."""
        c = self.config
        if c.kind == "rf-gam":
            strength = lit(scores, counts, grid_hw=grid_hw, sigma=c.sigma)
            if c.soft:
                return strength
            scores = strength
        again = chance.repeat(len(scores) // len(chance))
        return hide_highest(or_by_chance(scores, again, stream=STREAM), counts).float()


class Hiding(nn.Module):
    """An objective whose model must do with masked features.

    Args:
        objective: what is minimised. It asks its model as a whole, or by encode and decode.
        mask: what is hidden.
    """

    def __init__(self, objective: Callable[[Any, Batch, float], Step], mask: FeatureMask) -> None:
        super().__init__()
        self.objective = objective
        self.mask = mask

    def forward(self, model: Any, batch: Batch, progress: float) -> Step:
        """Parts: the objective's, and hidden, the share of the features that is gone."""
        if not self.training:
            return self.objective(model, batch, progress)
        kept_from = Hindered(model, self.mask, chance=batch.chance, progress=progress)
        step = self.objective(kept_from, batch, progress)
        gone = torch.stack(kept_from.gone).mean()
        return replace(step, parts={**step.parts, "hidden": step.count * gone})


class Hindered:
    """Stands for a model during one step: what it encodes is masked before anyone sees it.

    The model is a `trainer.models.protocol.MaskModel`, or peers, whose features are a tuple of each one's.
    """

    def __init__(self, model: Any, mask: FeatureMask, *, chance: Tensor, progress: float) -> None:
        self._model, self._mask = model, mask
        self._chance, self._progress = chance, progress
        self.gone: list[Tensor] = []

    def __call__(self, *inputs: Any) -> Tensor:
        """The model's forward, with masked features between."""
        return self.decode(self.encode(*inputs))

    def encode(self, *inputs: Any) -> Features | tuple[Features, ...]:
        """What the model's `encode` gives, masked."""
        features = self._model.encode(*inputs)
        if isinstance(features, tuple):
            return tuple(self._hide(each) for each in features)
        return self._hide(features)

    def decode(self, features: Features | tuple[Features, ...]) -> Tensor:
        """As the model does."""
        return self._model.decode(features)

    def _hide(self, features: Features) -> Features:
        masked, gone = self._mask(features, self._chance, self._progress)
        self.gone.append(gone)
        return masked


def cell_of(size_hw: tuple[int, int], *, most: int) -> int:
    """Side in places of the smallest square patches of which a level has at most `most`."""
    cell = 1
    while ceil(size_hw[0] / cell) * ceil(size_hw[1] / cell) > most:
        cell += 1
    return cell


def pool(level: Tensor, *, most: int) -> Tensor:
    """bcrs -> means over its patches, bcr's'; patches at the far border may be cut off by it."""
    r, s = level.shape[2:]
    cell = cell_of((r, s), most=most)
    if cell == 1:
        return level
    if r % cell or s % cell:
        return functional.avg_pool2d(level, cell, ceil_mode=True)
    # on a CPU sums of slices take a third of avg_pool2d's time
    wide = _sum([level[:, :, i::cell] for i in range(cell)])
    return _sum([wide[..., i::cell] for i in range(cell)]).mul_(cell**-2)


def _sum(parts: Sequence[Tensor]) -> Tensor:
    """Of two or more, without a tensor for each step between."""
    total = parts[0] + parts[1]
    for part in parts[2:]:
        total += part
    return total


def spread(patches: Tensor, level: Tensor, *, most: int) -> Tensor:
    """What stands at the patches br's' of a level bcrs, at all its places: brs."""
    r, s = level.shape[2:]
    cell = cell_of((r, s), most=most)
    b, rows, columns = patches.shape
    wide = patches[:, :, None, :, None].expand(b, rows, cell, columns, cell)
    return wide.reshape(b, rows * cell, columns * cell)[:, :r, :s]
