"""Easy samples first: a machine label counts once its loss is below a threshold that rises with training.

Self-Paced Learning (Kumar, Packer and Koller, NIPS 2010): minimise `sum v_i L_i - lambda sum v_i` over v in {0, 1}, so
v_i = [L_i < lambda], with lambda raised until every sample is in. A fixed ladder of lambdas would mean something else
for every loss; ours is the quantile of the machine losses that admits a share growing linearly from `start` to `end`,
remembered as a running average over batches, so that a batch of hard samples admits few. The paper's `end` is 1: it
was made for hard samples, not wrong ones, and takes the wrong ones in at last. Gold always counts.
"""

import torch
from torch import Tensor, nn

from trainer.weighting.protocol import Context

KEPT = 0.95
"""How much of the remembered threshold stays at a step."""


class SelfPaced(nn.Module):
    """One for gold and for the admitted machine samples.

    Args:
        start: share of machine samples admitted at first, in [0, 1].
        end: share admitted at the end of the training.
        gold_weight: weight of gold.
    """

    peers = 1
    reads_losses = True
    threshold: Tensor

    def __init__(self, *, start: float, end: float, gold_weight: float = 1.0) -> None:
        super().__init__()
        self.start = start
        self.end = end
        self.gold_weight = gold_weight
        self.register_buffer("threshold", torch.tensor(torch.nan))

    def forward(self, losses: Tensor, context: Context) -> Tensor:
        """1b losses -> 1b weights. A batch without machine samples leaves the threshold as it is."""
        share = self.start + (self.end - self.start) * context.progress
        machine = torch.where(context.is_gold, torch.nan, losses[0]).float()
        here = torch.nanquantile(machine, share)
        old = torch.where(self.threshold.isnan(), here, self.threshold)
        new = torch.where(here.isnan(), old, KEPT * old + (1.0 - KEPT) * here)
        self.threshold.copy_(new)
        admitted = (losses <= new).to(losses.dtype)
        return torch.where(context.is_gold, self.gold_weight, admitted)
