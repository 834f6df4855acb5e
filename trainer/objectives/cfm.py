"""Contrastive feature masking (CFM-ViT, arXiv 2309.00775): images against texts, and hidden patches' features.

`L = L_con + weight * L_rec`. L_con is InfoNCE both ways over the batch of all processes (trainer.contrast). L_rec is
one minus the mean cosine, over the hidden patches, between what the reconstruction branch predicts and what the
contrastive branch made of these patches in the joint space, the latter without a gradient: the same weights, no
teacher. The paper has no code that we know of and we hold summaries of it: that a share of 0.75 is hidden, the target,
1:1 and the dropping of positions with probability 0.5 stand there; two decoder blocks, the cosine and the split of the
tokens are a recollection that nobody could check, and are options or said here.

The reconstruction sees the visible patches and the contrast the hidden ones (`contrast: complement`), so both together
encode every patch once, which is what plain contrastive training does; and the targets are there for just the patches
that are to be predicted.

Positions are dropped (PED) for whole samples, once for both branches: a target that knows where it is could not be
predicted from patches that do not. The decoder keeps its positions; without them all hidden patches would be one. What
the masking looks at are the patches as they are encoded. In evaluation nothing is dropped.

A patch that augmentation has moved beyond the photograph's border, even in part, may be hidden and is not asked for.

Letters: b samples, a samples of all processes, l patches, n hidden ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from trainer.contrast import info_nce, name_of_text, repeated
from trainer.data.batch import Batch
from trainer.data.chance import uniform
from trainer.engine.distributed import World
from trainer.engine.gathering import gathered
from trainer.masking.protocol import Masking, Patches, Telling
from trainer.models.vit.dual import Dual, Met
from trainer.models.vit.pixels import normed_pixels, whole_patches
from trainer.models.vit.shown import Shown, show
from trainer.objectives.config import CfmConfig
from trainer.objectives.protocol import Step

PED_STREAM = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The patches of a grid in two: each is in one of the lists, which may be padded."""

    visible: Shown
    hidden: Shown
    grid_hw: tuple[int, int]


def split_by(hidden: Tensor, bounds: tuple[int, int], grid_hw: tuple[int, int]) -> Split:
    """What a masking's hidden bool bl says, of which each row hides from bounds[0] to bounds[1] patches."""
    fewest, most = bounds
    count = hidden.shape[1]
    return Split(
        visible=show(hidden, bounds=bounds),
        hidden=show(~hidden, bounds=(count - most, count - fewest)),
        grid_hw=grid_hw,
    )


def unlike(said: Tensor, target: Tensor) -> Tensor:
    """One minus the cosine of bnj and bnj: bn, from 0 (the same direction) to 2 (opposite). No gradient to `target`."""
    return 1.0 - functional.cosine_similarity(said, target.detach(), dim=2, eps=1e-6)


class Cfm(nn.Module):
    """Contrast and reconstruction of one batch.

    Args:
        config: what is contrasted and what is reconstructed.
        masking: which patches the reconstruction does not see; not asked where all are contrasted and nothing is
            reconstructed.
        world: the processes whose samples are contrasted.
        image_of: int64, for each row of the dataset the number of its image; None: every row has its own.
        accumulate: `optim.accumulate`.

    Raises:
        ValueError: the batch would be contrasted in parts.
    """

    image_of: Tensor | None

    def __init__(
        self,
        config: CfmConfig,
        *,
        masking: Masking,
        world: World | None = None,
        image_of: Tensor | None = None,
        accumulate: int = 1,
    ) -> None:
        super().__init__()
        if accumulate > 1:
            raise ValueError(
                f"optim.accumulate is {accumulate}, but cfm compares all samples of a batch and would see its parts "
                "one by one; set optim.accumulate=1, and data.batch to what memory allows"
            )
        self.config = config
        self.masking = masking
        self.world = world or World()
        self.register_buffer("image_of", image_of, persistent=False)

    def forward(self, model: Dual, batch: Batch, progress: float) -> Step:
        """Parts: contrast; reconstruction where there is one; negatives, how many a sample has; temperature; what the
        masking tells of itself.
        """
        config = self.config
        patches = model.embed(batch.image, self._placed(batch.chance))
        split, told = self._split(patches, batch, model.encoder.grid_of(batch.image), progress)
        seen = None if split is None or config.contrast == "all" else split.hidden
        met = model.meet(patches, batch.tokens, seen)
        scale = model.scale()
        losses, negatives = self._contrast(met, scale, batch)
        parts = {"contrast": losses.detach().sum()}
        if split is not None and config.reconstruct != "none":
            said = model.fill_in(
                patches, visible=split.visible, hidden=split.hidden, grid_hw=split.grid_hw
            )
            lost = self._lost(said, split.hidden, met, batch, model.encoder.patch)
            losses = losses + config.weight * lost
            parts["reconstruction"] = lost.detach().sum()
        b = len(losses)
        parts |= {name: values.sum() for name, values in told.items()}
        parts |= {"negatives": negatives.sum(), "temperature": b / scale.detach()}
        count = torch.full((), float(b), device=losses.device)
        return Step(total=losses.sum(), count=count, parts=parts)

    def _placed(self, chance: Tensor) -> Tensor | None:
        """bool b: which samples have positions; None: all."""
        if not self.training or self.config.ped == 0:
            return None
        return uniform(chance, 1, stream=PED_STREAM)[:, 0] >= self.config.ped

    def _split(
        self, patches: Tensor, batch: Batch, grid_hw: tuple[int, int], progress: float
    ) -> tuple[Split | None, Mapping[str, Tensor]]:
        """The patches bld in two, and what the masking tells of each sample, float b.

        None and nothing where all are contrasted and nothing is reconstructed.
        """
        if self.config.reconstruct == "none" and self.config.contrast == "all":
            return None, {}
        asked = Patches(
            tokens=patches.detach(), grid_hw=grid_hw, chance=batch.chance, progress=progress
        )
        bounds = self.masking.bounds(patches.shape[1])
        if isinstance(self.masking, Telling):
            hidden, told = self.masking.told(asked)
            return split_by(hidden, bounds, grid_hw), told
        return split_by(self.masking(asked), bounds, grid_hw), {}

    def _contrast(self, met: Met, scale: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss of each sample and how many negatives it has, both float b."""
        both = gathered(torch.stack([met.image, met.text], 1), self.world)
        b, a = len(met.image), len(both)
        own = self.world.rank * b + torch.arange(b, device=both.device)
        left_out = None
        negatives = both.new_full((b,), float(a - 1))
        if self.config.repeats == "left_out":
            image = batch.rows if self.image_of is None else self.image_of[batch.rows]
            names = torch.stack([name_of_text(batch.tokens), image], 1)
            left_out = repeated(names, torch.cat(self.world.gather(names)), own=own)
            negatives = negatives - left_out.sum(1)
        losses = info_nce(
            met.image, met.text, images=both[:, 0], texts=both[:, 1], scale=scale, own=own,
            left_out=left_out,
        )  # fmt: skip
        return losses, negatives

    def _lost(self, said: Tensor, hidden: Shown, met: Met, batch: Batch, patch: int) -> Tensor:
        """What each sample's reconstruction costs, b: the mean over those of its hidden patches that are asked for."""
        if self.config.reconstruct == "pixels":
            lost = (said - hidden.of(normed_pixels(batch.image, patch))).square().mean(2)
        else:
            assert met.features is not None
            whole = self.config.contrast == "all"
            lost = unlike(said, hidden.of(met.features) if whole else met.features)
        asked = whole_patches(batch.pixel_valid, patch).gather(1, hidden.places)
        if hidden.real is not None:
            asked = asked & hidden.real
        return (lost * asked).sum(1) / asked.sum(1).clamp(min=1)
