"""What a discriminator's verdicts on a batch cost, over the samples of all processes that train together.

The risks are means over gold and over machine samples, and one of them is clamped, so the loss of a whole batch is not
the mean of its parts' losses: the verdicts of all processes are put together before it is taken.
"""

import torch
from torch import Tensor

from trainer.engine.distributed import World
from trainer.engine.gathering import gathered
from trainer.losses import plain_bce_loss, pu_loss
from trainer.objectives.config import DiscriminateConfig


def label_risk(logits: Tensor, is_gold: Tensor, config: DiscriminateConfig, world: World) -> Tensor:
    """The PU or plain loss of the global batch, the same in every process: a scalar.

    Times each process's share of a count that is summed over the world, it gives every verdict the gradient that it
    would have in one process.

    Args:
        logits: verdicts b of this process, before the sigmoid; as many in each process.
        is_gold: bool b.
        config: which loss.
        world: the processes.
    """
    if world.size > 1:
        logits, is_gold = gathered(logits, world), torch.cat(world.gather(is_gold))
    if config.loss == "bce":
        return plain_bce_loss(logits, is_gold)
    return pu_loss(logits, is_gold, eta=config.eta, non_negative=config.non_negative)
