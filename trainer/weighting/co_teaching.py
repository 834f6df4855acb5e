"""Two networks, each taught what the other finds easy: Co-teaching (arXiv 1804.06872) and Co-teaching+ (1901.04215).

Each peer learns from the machine labels on which the *other* has the smallest losses, so that its own mistakes are not
what selects its lessons. Co-teaching+ selects among the samples on which the peers disagree, which keeps them from
becoming one. Batches, schedule and rank are those of small-loss selection; gold always counts, for both.

Ours: classes disagree or not, masks differ by degrees, so peers disagree where the IoU of their masks is below
`disagree_iou` (trainer.objectives.segmentation); and disagreement is asked for once the share left out has reached its
final value, as the warm-up of Co-teaching+ is plain Co-teaching. A batch in which no machine sample is disagreed on
teaches its gold alone. The saved model is the first peer, and a step costs twice that of the other methods.
"""

import torch
from torch import Tensor

from trainer.engine.distributed import World
from trainer.smallest import kept_share, smallest
from trainer.weighting.protocol import Context


class CoTeaching:
    """One for gold and for the machine samples of small loss to the other peer, zero for the others.

    Args:
        noise_rate: share of machine samples left out once the warm-up is over.
        warmup: share of the training over which it grows from 0 to that.
        plus: choose among the samples on which the peers disagree.
        gold_weight: weight of gold.
        world: the processes whose samples are ranked together.
    """

    peers = 2
    reads_losses = True

    def __init__(
        self,
        *,
        noise_rate: float,
        warmup: float,
        plus: bool = False,
        gold_weight: float = 1.0,
        world: World | None = None,
    ) -> None:
        self.noise_rate = noise_rate
        self.warmup = warmup
        self.plus = plus
        self.gold_weight = gold_weight
        self.world = world

    def __call__(self, losses: Tensor, context: Context) -> Tensor:
        """2b losses -> 2b weights."""
        assert len(losses) == self.peers, losses.shape
        among = ~context.is_gold
        if self.plus and context.progress >= self.warmup:
            among = among & context.disagree
        share = kept_share(context.progress, noise_rate=self.noise_rate, warmup=self.warmup)
        kept = smallest(losses, among=among, share=share, world=self.world).flip(0)
        return torch.where(context.is_gold, self.gold_weight, kept.to(losses.dtype))
