"""Every sample counts the same, gold or machine: plain supervised learning."""

import torch
from torch import Tensor

from trainer.weighting.protocol import Context


class Uniform:
    """Weights of one; `gold_weight` for gold, where a recipe says so."""

    peers = 1
    reads_losses = False

    def __init__(self, *, gold_weight: float = 1.0) -> None:
        self.gold_weight = gold_weight

    def __call__(self, losses: Tensor, context: Context) -> Tensor:
        """mb losses -> mb weights."""
        ones = torch.ones_like(losses)
        return torch.where(context.is_gold, self.gold_weight * ones, ones)
