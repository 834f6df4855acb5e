"""Easy samples first: a machine label counts once its loss is below a threshold that rises with training.

Self-Paced Learning (Kumar, Packer and Koller, NIPS 2010): minimise `sum v_i L_i - lambda sum v_i` over v in {0, 1}, so
v_i = [L_i < lambda], with lambda raised until every sample is in. A fixed ladder of lambdas would mean something else
for every loss; ours is the quantile of the last machine losses that admits a share growing linearly from `start` to
`end`. Those are more than a batch's, so that a batch of hard samples admits few. The paper's `end` is 1: it was made
for hard samples, not wrong ones, and takes the wrong ones in at last. Gold always counts. Processes that train together
go by the losses of the first one's samples.
"""

import torch
from torch import Tensor, nn

from trainer.weighting.protocol import Context

MEMORY = 512
"""Samples whose losses are remembered, gold among them, whose losses are not."""


class SelfPaced(nn.Module):
    """One for gold and for the admitted machine samples.

    Args:
        start: share of machine samples admitted at first, in [0, 1].
        end: share admitted at the end of the training.
        gold_weight: weight of gold.
    """

    peers = 1
    reads_losses = True
    recent: Tensor

    def __init__(self, *, start: float, end: float, gold_weight: float = 1.0) -> None:
        super().__init__()
        self.start = start
        self.end = end
        self.gold_weight = gold_weight
        self.register_buffer("recent", torch.full((MEMORY,), torch.nan))

    def forward(self, losses: Tensor, context: Context) -> Tensor:
        """1b losses -> 1b weights."""
        share = self.start + (self.end - self.start) * context.progress
        machine = torch.where(context.is_gold, torch.nan, losses[0]).float()
        self.recent.copy_(torch.cat([self.recent, machine])[-MEMORY:])
        admitted = (losses <= torch.nanquantile(self.recent, share)).to(losses.dtype)
        return torch.where(context.is_gold, self.gold_weight, admitted)
