"""Only gold counts: what the human labels alone are worth."""

from torch import Tensor

from trainer.weighting.protocol import Context


class GoldOnly:
    """One for gold, zero for machine labels."""

    def __call__(self, losses: Tensor, context: Context) -> Tensor:
        """b losses -> b of 0 and 1."""
        return context.is_gold.to(losses.dtype)
