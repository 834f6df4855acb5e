"""Stage I: the discriminator learns to tell good labels, from gold as positives and machine labels as unlabelled.

To the PU (or plain) loss come known verdicts: gold masks of other samples of the batch are bad for this one, and, when
the recipe asks, the machine's own labels of gold samples, whose IoU with gold is known. Batches are half gold, gold
first, and where it lies is not read from the device: it would make every step wait. The guess of the discriminator
learns from the targets of the same batch by the plain mask loss; its gradient and the verdict's do not meet.
"""

from dataclasses import dataclass, field
from math import ceil

import torch

from trainer.data.batch import Batch
from trainer.engine.distributed import World
from trainer.label_risk import label_risk
from trainer.losses import (
    bce_per_sample,
    dice_per_sample,
    known_verdicts,
    mean_where,
)
from trainer.models.judge import Judge
from trainer.objectives.config import DiscriminateConfig
from trainer.objectives.protocol import Step


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelQuality:
    """The discriminator's loss over one batch that holds gold and machine samples.

    world: the processes whose samples the PU or plain loss is an average of; made-up bad labels are masks of the same
    process.
    """

    config: DiscriminateConfig
    world: World = field(default_factory=World)

    def __call__(self, model: Judge, batch: Batch, progress: float) -> Step:
        """Parts: verdict, guess (losses), d_gold and d_machine (mean verdicts). The batch counts as its size."""
        c = self.config
        sight = model.look(batch.image, batch.tokens, batch.embedding)
        logits = model.judge(sight, batch.mask)
        gold = batch.is_gold
        verdict = label_risk(logits, gold, c, self.world)
        if c.mismatched or c.judged:
            half = slice(0, ceil(len(gold) / 2))
            mine = sight.pick(half)
            verdict = verdict + known_verdicts(
                lambda masks: [model.judge(mine, mask) for mask in masks],
                own=batch.mask[half],
                label=batch.label[half],
                gold=gold[half],
                mismatched=c.mismatched,
                judged=c.judged,
            )
        learnt = torch.zeros_like(verdict)
        if sight.guess is not None:
            learnt = bce_per_sample(sight.guess, batch.mask, batch.pixel_valid)
            learnt = (learnt + dice_per_sample(sight.guess, batch.mask, batch.pixel_valid)).mean()
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
