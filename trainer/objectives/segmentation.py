"""Stage II: the mask loss of each sample, weighted, over the weights' sum. What a weigher says is a constant here."""

from dataclasses import dataclass

from trainer.batch import Batch
from trainer.config import LossConfig
from trainer.losses import bce_per_sample, dice_per_sample, weighted_mean
from trainer.objectives.protocol import Step
from trainer.segmenter import Segmenter
from trainer.weighting.protocol import Context, Weigher


@dataclass(frozen=True, slots=True, kw_only=True)
class Segmentation:
    """BCE + Dice per sample, reduced with a weigher's weights."""

    loss: LossConfig
    weigher: Weigher

    def __call__(self, model: Segmenter, batch: Batch) -> Step:
        """Parts: bce and dice (weighted like the loss), weight_mean over the batch."""
        logits = model(batch.image, batch.tokens)
        bce = bce_per_sample(logits, batch.mask, batch.pixel_valid)
        dice = dice_per_sample(logits, batch.mask, batch.pixel_valid)
        losses = self.loss.bce * bce + self.loss.dice * dice
        context = Context(p_clean=batch.p_clean, weight=batch.weight, is_gold=batch.is_gold)
        weights = self.weigher(losses.detach(), context)
        return Step(
            loss=weighted_mean(losses, weights),
            parts={
                "bce": float(weighted_mean(bce.detach(), weights)),
                "dice": float(weighted_mean(dice.detach(), weights)),
                "weight_mean": float(weights.mean()),
            },
        )
