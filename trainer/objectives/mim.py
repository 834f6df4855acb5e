"""Masked image modelling: the pixels of hidden patches from the visible ones (MAE, arXiv 2111.06377).

A sample's loss is the mean squared error over its hidden patches, of pixels in [0, 1] or of pixels normed patch by
patch, which are the paper's better targets. The paper divides by the hidden patches of a batch; ours is a mean over
each sample's own, so that an image costs the same in any company also where ratios are each image's own.

A patch that augmentation has moved beyond the photograph's border, even in part, may be hidden and is not asked for. A
sample of which nothing is asked counts nothing.

Where the masking is guided by what the model expects to lose, the head that expects it learns beside, from pairs of
hidden patches of a sample: which of the two costs more? Levels of a loss fall while training goes on, their sequence
need not (Hard Patches Mining, arXiv 2304.05919, names the relative loss the better one; its formula is from memory).

Letters: b samples, l patches, n hidden ones.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from trainer.data.batch import Batch
from trainer.masking.protocol import Masking, Patches, Telling
from trainer.models.vit.autoencoder import Autoencoder
from trainer.models.vit.pixels import normed_pixels, pixels_of, whole_patches
from trainer.models.vit.shown import show
from trainer.objectives.config import MimConfig
from trainer.objectives.protocol import Step


class Mim(nn.Module):
    """The pixels of one batch's hidden patches.

    Args:
        config: which pixels, and how much the expectation of losses counts.
        masking: what is hidden.
    """

    def __init__(self, config: MimConfig, *, masking: Masking) -> None:
        super().__init__()
        self.config = config
        self.masking = masking

    def forward(self, model: Autoencoder, batch: Batch, progress: float) -> Step:
        """Parts: pixels, the error; hidden, the share of patches that is; asked, the share of the hidden that has a
        loss; what the masking tells of itself. Where losses are expected also expectation, what is lost by it, and
        ranked, the share of pairs in the right sequence.
        """
        patches = model.embed(batch.image)
        grid_hw = model.encoder.grid_of(batch.image)
        expected = model.expect(patches) if model.expects_losses else None
        away, signs = self._hide(patches, batch, grid_hw, progress, expected)
        count = away.shape[1]
        fewest, most = self.masking.bounds(count)
        visible = show(away, bounds=(fewest, most))
        hidden = show(~away, bounds=(count - most, count - fewest))
        said = model.reconstruct(patches, visible=visible, hidden=hidden, grid_hw=grid_hw)
        target = normed_pixels if self.config.norm_pix else pixels_of
        wanted = hidden.of(target(batch.image, model.encoder.patch))
        error = (said - wanted).square().mean(2)
        asked = whole_patches(batch.pixel_valid, model.encoder.patch).gather(1, hidden.places)
        if hidden.real is not None:
            asked = asked & hidden.real
        losses = _mean_of(error, asked)
        counts = asked.any(1).to(losses.dtype)
        parts = {
            "pixels": losses.detach(),
            "hidden": away.to(losses.dtype).mean(1),
            "asked": asked.sum(1) / away.sum(1),
            **signs,
        }
        if expected is not None:
            judged, ranked = rank(expected.gather(1, hidden.places), error.detach(), asked)
            losses = losses + self.config.expectation * judged
            parts |= {"expectation": judged.detach(), "ranked": ranked}
        return Step(
            total=(counts * losses).sum(),
            count=counts.sum(),
            parts={name: (counts * values).sum() for name, values in parts.items()},
        )

    def _hide(
        self,
        patches: Tensor,
        batch: Batch,
        grid_hw: tuple[int, int],
        progress: float,
        expected: Tensor | None,
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """bool bl, True = hidden, and what the masking tells of each sample, float b."""
        asked = Patches(
            tokens=patches.detach(),
            grid_hw=grid_hw,
            chance=batch.chance,
            progress=progress,
            losses=None if expected is None else expected.detach(),
        )
        if isinstance(self.masking, Telling):
            return self.masking.told(asked)
        return self.masking(asked), {}


def rank(expected: Tensor, cost: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
    """How well `expected` tells which of two patches costs more.

    Args:
        expected: bn, with a gradient.
        cost: bn, without one.
        asked: bool bn; pairs of others do not count.

    Returns:
        The mean over pairs of -log sigmoid(expected of the dearer - expected of the cheaper), b, and the share of pairs
        in the right sequence, b. A sample without a pair has zeros.
    """
    pairs = asked[:, :, None] & asked[:, None, :] & (cost[:, :, None] > cost[:, None, :])
    apart = expected[:, :, None] - expected[:, None, :]
    right = (apart.detach() > 0).to(expected.dtype)
    lost = -functional.logsigmoid(apart)
    return _mean_of(lost.flatten(1), pairs.flatten(1)), _mean_of(right.flatten(1), pairs.flatten(1))


def _mean_of(values: Tensor, where: Tensor) -> Tensor:
    """Mean b of values bn over the places of bool bn; 0 where there is none. Others get no gradient, NaN or not."""
    kept = torch.where(where, values, torch.zeros_like(values))
    return kept.sum(1) / where.sum(1).clamp(min=1)
