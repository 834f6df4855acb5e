"""Stage II: the mask loss of each sample, weighted, over the weights' sum. What a weigher says is a constant here."""

import torch
from torch import Tensor, nn

from trainer.data.batch import Batch
from trainer.losses import bce_per_sample, dice_per_sample, weighted_sum
from trainer.objectives.config import LossConfig
from trainer.objectives.protocol import Regulariser, Step
from trainer.weighting.protocol import Context, Weigher


class Segmentation(nn.Module):
    """BCE + Dice per sample, reduced with a weigher's weights.

    Args:
        loss: the two terms' factors.
        weigher: says how much each sample counts; one with a memory is a module, saved with the training state.
        regulariser: adds to each sample's loss, unseen by the weigher; of one model, not of peers.
        disagree_iou: peers disagree on a sample where the IoU of their masks is below this.
    """

    def __init__(
        self,
        *,
        loss: LossConfig,
        weigher: Weigher,
        regulariser: Regulariser | None = None,
        disagree_iou: float = 0.8,
    ) -> None:
        super().__init__()
        self.loss = loss
        self.weigher = weigher
        self.regulariser = regulariser
        self.disagree_iou = disagree_iou

    def forward(self, model: nn.Module, batch: Batch, progress: float) -> Step:
        """Parts: bce and dice, weighted like the loss, and what a regulariser adds.

        Of m peers the count is the mean and the total the sum, so that each learns as it would alone.
        """
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
            disagree=differ(peers.detach(), below=self.disagree_iou),
            progress=progress,
        )
        weights = self.weigher(losses.detach(), context).detach()
        parts = {"bce": weighted_sum(bce.detach(), weights) / len(peers)}
        parts["dice"] = weighted_sum(dice.detach(), weights) / len(peers)
        if self.regulariser is not None:
            assert len(peers) == 1, len(peers)
            added = self.regulariser(peers[0], batch)[None]
            losses = losses + added
            parts["regulariser"] = weighted_sum(added.detach(), weights)
        return Step(
            total=weighted_sum(losses, weights), count=weights.sum() / len(peers), parts=parts
        )


def differ(peers: Tensor, *, below: float) -> Tensor:
    """bool b: where some peer's mask has an IoU with the first's that is too small, of logits mb1hw.

    One peer differs everywhere, so that there is nothing to leave out; two empty masks are the same.
    """
    if len(peers) == 1:
        return torch.ones(peers.shape[1], dtype=torch.bool, device=peers.device)
    masks = (peers > 0).flatten(2)
    both = (masks & masks[:1]).sum(2)
    either = (masks | masks[:1]).sum(2)
    return (both < below * either).any(0)
