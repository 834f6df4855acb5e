"""Only gold counts: what the human labels alone are worth."""

from torch import Tensor

from trainer.weighting.protocol import Context


class GoldOnly:
    """One for gold, zero for machine labels."""

    peers = 1
    reads_losses = False

    def __call__(self, losses: Tensor, context: Context) -> Tensor:
        """mb losses -> mb of 0 and 1."""
        return context.is_gold.to(losses.dtype).expand_as(losses)
