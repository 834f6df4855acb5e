"""Small losses first: how many labels of a batch are taken for clean, and which (Co-teaching, arXiv 1804.06872).

Ranks are among the samples of all processes that train together, so that a batch means the same however many share it.
Letters: b samples of this process, m peers.
"""

import torch
from torch import Tensor

from trainer.engine.distributed import World


def kept_share(progress: float, *, noise_rate: float, warmup: float) -> float:
    """1 - noise rate, reached linearly from 1 over the first `warmup` of the training (Co-teaching's R(t))."""
    grown = 1.0 if progress >= warmup else progress / warmup
    return 1.0 - noise_rate * grown


def smallest(losses: Tensor, *, among: Tensor, share: float, world: World | None = None) -> Tensor:
    """bool mb: for each of m peers the `share` of the samples `among` (bool mb or b) with its smallest losses mb.

    The number is rounded up; of equal losses the first count as smaller. A loss that is no number counts as largest.

    Args:
        losses, among: of this process.
        share: in [0, 1].
        world: the processes whose samples are ranked together, each with as many.
    """
    world = world or World()
    among = among.expand_as(losses)
    everyone = torch.cat(world.gather(losses), 1)
    asked = torch.cat(world.gather(among), 1)
    rank = torch.where(asked, everyone, torch.inf).argsort(dim=1, stable=True).argsort(dim=1)
    count = (share * asked.sum(1, keepdim=True) - 1e-6).ceil()
    b = losses.shape[1]
    return among & (rank < count)[:, world.rank * b : (world.rank + 1) * b]
