"""Stage II: the mask loss of each sample, weighted, over the weights' sum. What a weigher says is a constant here."""

import torch
from torch import Tensor, nn

from trainer.data.batch import Batch
from trainer.losses import bce_per_sample, dice_per_sample, weighted_sum
from trainer.objectives.config import LossConfig
from trainer.objectives.protocol import Step
from trainer.weighting.protocol import Context, Weigher


class Segmentation(nn.Module):
    """BCE + Dice per sample, reduced with a weigher's weights.

    Args:
        loss: the two terms' factors.
        weigher: says how much each sample counts; one with a memory is a module, saved with the training state.
    """

    def __init__(self, *, loss: LossConfig, weigher: Weigher) -> None:
        super().__init__()
        self.loss = loss
        self.weigher = weigher

    def forward(self, model: nn.Module, batch: Batch, progress: float) -> Step:
        """Parts: bce and dice, weighted like the loss."""
        logits: Tensor = model(batch.image, batch.tokens, batch.embedding)
        peers = logits if logits.ndim == 5 else logits[None]
        bce = torch.stack([bce_per_sample(z, batch.mask, batch.pixel_valid) for z in peers])
        dice = torch.stack([dice_per_sample(z, batch.mask, batch.pixel_valid) for z in peers])
        losses = self.loss.bce * bce + self.loss.dice * dice
        context = Context(
            p_clean=batch.p_clean,
            weight=batch.weight,
            is_gold=batch.is_gold,
            rows=batch.rows,
            disagree=differ(peers.detach()),
            progress=progress,
        )
        weights = self.weigher(losses.detach(), context).detach()
        return Step(
            total=weighted_sum(losses, weights),
            count=weights.sum(),
            parts={
                "bce": weighted_sum(bce.detach(), weights),
                "dice": weighted_sum(dice.detach(), weights),
            },
        )


def differ(peers: Tensor) -> Tensor:
    """bool b: where the masks of m peers, logits mb1hw, are not the same; all true for one peer."""
    if len(peers) == 1:
        return torch.ones(peers.shape[1], dtype=torch.bool, device=peers.device)
    masks = peers > 0
    return (masks != masks[:1]).flatten(2).any(2).any(0)
