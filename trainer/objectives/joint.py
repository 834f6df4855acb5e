"""DWSL in one stage: a light discriminator learns beside the segmenter, and its verdicts weigh the machine labels.

The prototypes of IVM (arXiv 2405.19783) and their ancestor DWBC (arXiv 2207.10050) train both together; the released
form has two stages. Gradients never meet: the head reads detached features and predictions, and its verdicts enter the
mask loss as constants. In the prototypes the discriminator's loss reached the segmenter, and a column of weights
times a row of losses averaged the weighting away; tests hold us to neither.

The head's loss is stage I's: PU or plain, and the known verdicts. Weights are 1 until a warm-up is over, since a head
that has learnt nothing would choose at random. Ours, and the price of one stage: its verdicts are not out of sample.
The segmenter has learnt from the label that the head judges, also by its overlap with the segmenter's mask.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trainer.data.batch import Batch
from trainer.engine.distributed import World
from trainer.label_risk import label_risk
from trainer.losses import (
    bce_per_sample,
    dice_per_sample,
    known_verdicts,
    mean_where,
    weighted_sum,
)
from trainer.models.light_head import LightHead
from trainer.models.protocol import MaskModel
from trainer.objectives.config import DiscriminateConfig, LossConfig
from trainer.objectives.protocol import Step
from trainer.weighting.protocol import Context, Weigher


class Joint(nn.Module):
    """The weighted mask loss and the head's own.

    Args:
        loss: factors of the mask loss.
        judge: how the head learns; `guess`, folds and optimiser are of no concern here.
        head: trained beside the model, whose features it reads.
        weigher: f of the head's verdicts, which it gets as p_clean.
        warmup: share of the training during which every weight is 1.
        world: the processes whose samples the head's loss is an average of.
    """

    def __init__(
        self,
        *,
        loss: LossConfig,
        judge: DiscriminateConfig,
        head: LightHead,
        weigher: Weigher,
        warmup: float,
        world: World | None = None,
    ) -> None:
        super().__init__()
        self.loss = loss
        self.judge = judge
        self.head = head
        self.weigher = weigher
        self.warmup = warmup
        self.world = world or World()

    def forward(self, model: MaskModel, batch: Batch, progress: float) -> Step:
        """Parts: bce and dice, weighted like the loss; verdict; d_gold and d_machine, mean verdicts."""
        features = model.encode(batch.image, batch.tokens, batch.embedding)
        logits = model.decode(features)
        bce = bce_per_sample(logits, batch.mask, batch.pixel_valid)[None]
        dice = dice_per_sample(logits, batch.mask, batch.pixel_valid)[None]
        losses = self.loss.bce * bce + self.loss.dice * dice

        def ask(masks: Sequence[Tensor]) -> Sequence[Tensor]:
            return self.head(features, logits, torch.cat(list(masks), 1)).unbind(1)

        (verdicts,), gold = ask([batch.mask]), batch.is_gold
        d = verdicts.detach().sigmoid()
        if progress < self.warmup:
            weights = torch.ones_like(losses)
        else:
            context = Context(
                p_clean=d,
                weight=batch.weight,
                is_gold=gold,
                rows=batch.rows,
                disagree=torch.ones_like(gold),
                progress=progress,
            )
            weights = self.weigher(losses.detach(), context).detach()
        count = weights.sum()
        verdict = label_risk(verdicts, gold, self.judge, self.world) + known_verdicts(
            ask,
            own=batch.mask,
            label=batch.label,
            gold=gold,
            mismatched=self.judge.mismatched,
            judged=self.judge.judged,
        )
        return Step(
            total=weighted_sum(losses, weights) + count * verdict,
            count=count,
            parts={
                "bce": weighted_sum(bce.detach(), weights),
                "dice": weighted_sum(dice.detach(), weights),
                "verdict": count * verdict.detach(),
                "d_gold": count * mean_where(d, gold),
                "d_machine": count * mean_where(d, ~gold),
            },
        )
