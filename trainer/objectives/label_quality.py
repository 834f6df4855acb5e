"""Stage I: the discriminator learns to tell good labels, from gold as positives and machine labels as unlabelled.

To the PU (or plain) loss come known verdicts: gold masks of other samples of the batch are bad for this one, and, when
the recipe asks, the machine's own labels of gold samples, whose IoU with gold is known. The guess of the discriminator
learns from the targets of the same batch by the plain mask loss; its gradient and the verdict's do not meet.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor

from trainer.data.batch import Batch
from trainer.losses import bce_per_sample, dice_per_sample, mean_where, plain_bce_loss, pu_loss
from trainer.models.discriminator import Discriminator
from trainer.objectives.config import DiscriminateConfig
from trainer.objectives.protocol import Step

SAME = 0.5
"""IoU from which a mask counts as the same region."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelQuality:
    """The discriminator's loss over one batch that holds gold and machine samples."""

    config: DiscriminateConfig

    def __call__(self, model: Discriminator, batch: Batch, progress: float) -> Step:
        """Parts: verdict, guess (losses), d_gold and d_machine (mean verdicts). The batch counts as its size."""
        c = self.config
        guess = model.guess(batch.image, batch.tokens)
        logits = model(batch.image, batch.tokens, batch.mask, guess)
        if c.loss == "pu":
            verdict = pu_loss(logits, batch.is_gold, eta=c.eta, non_negative=c.non_negative)
        else:
            verdict = plain_bce_loss(logits, batch.is_gold)
        gold = batch.is_gold
        if c.mismatched or c.judged:
            image, tokens, own = batch.image[gold], batch.tokens[gold], batch.mask[gold]
            if not len(image):
                raise ValueError("a batch without gold; the discriminator's batches are half gold")
            if c.mismatched:
                other = own.roll(1, 0)
                wrong = soft_iou(other, own) < SAME
                as_bad = functional.softplus(model(image, tokens, other, guess[gold]))
                verdict = verdict + c.mismatched * (as_bad * wrong).mean()
            if c.judged:
                label = batch.label[gold]
                good = (soft_iou(label, own) >= SAME).float()
                judged = model(image, tokens, label, guess[gold])
                verdict = verdict + c.judged * functional.binary_cross_entropy_with_logits(
                    judged, good
                )
        learnt = bce_per_sample(guess, batch.mask, batch.pixel_valid)
        learnt = (learnt + dice_per_sample(guess, batch.mask, batch.pixel_valid)).mean()
        d = logits.detach().sigmoid()
        count = torch.tensor(float(len(gold)), device=gold.device)
        return Step(
            total=count * (verdict + c.guess * learnt),
            count=count,
            parts={
                "verdict": count * verdict.detach(),
                "guess": count * learnt.detach(),
                "d_gold": count * mean_where(d, gold),
                "d_machine": count * mean_where(d, ~gold),
            },
        )


def soft_iou(a: Tensor, b: Tensor) -> Tensor:
    """sum min / sum max of two b1hw in [0, 1] -> b; two empty masks give 1."""
    low = torch.minimum(a, b).flatten(1).sum(1)
    high = torch.maximum(a, b).flatten(1).sum(1)
    return torch.where(high > 0, low / high.clamp(min=1e-6), torch.ones_like(high))
