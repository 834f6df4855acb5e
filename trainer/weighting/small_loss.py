"""The machine labels of small loss in a batch are taken for clean, the others are left out; one model.

The idea that a network fits clean labels before wrong ones, alone: the selection of Co-teaching (arXiv 1804.06872)
without its second network, so that what the second network is worth can be read off the table. The share that is left
out grows from 0 to the noise rate over a warm-up, as there (trainer.smallest). Ours: ranks are among the
machine samples of a batch, and gold always counts, since it is known to be clean. With gradient accumulation a batch is
what one forward pass of all processes holds.
"""

import torch
from torch import Tensor

from trainer.engine.distributed import World
from trainer.smallest import kept_share, smallest
from trainer.weighting.protocol import Context


class SmallLoss:
    """One for gold and for the machine samples of smallest loss, zero for the others.

    Args:
        noise_rate: share of machine samples left out once the warm-up is over.
        warmup: share of the training over which it grows from 0 to that.
        gold_weight: weight of gold.
        world: the processes whose samples are ranked together.
    """

    peers = 1
    reads_losses = True

    def __init__(
        self,
        *,
        noise_rate: float,
        warmup: float,
        gold_weight: float = 1.0,
        world: World | None = None,
    ) -> None:
        self.noise_rate = noise_rate
        self.warmup = warmup
        self.gold_weight = gold_weight
        self.world = world

    def __call__(self, losses: Tensor, context: Context) -> Tensor:
        """mb losses -> mb weights."""
        share = kept_share(context.progress, noise_rate=self.noise_rate, warmup=self.warmup)
        kept = smallest(losses, among=~context.is_gold, share=share, world=self.world)
        return torch.where(context.is_gold, self.gold_weight, kept.to(losses.dtype))
