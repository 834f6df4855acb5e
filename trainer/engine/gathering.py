"""What all processes have computed, in one tensor through which gradients flow back to whoever computed it.

A loss that compares the samples of a batch needs the other processes' samples, and its gradient goes through them too:
the loss of my image against your text pulls your text encoder. So backward adds up what every process's loss says
about every sample, and each takes the part of its own. Were gradients to stop at the other processes' samples, half of
an InfoNCE gradient would be missing. Then the sum over processes of the gradients is that of the sum of their losses,
which is what the loop's contract asks for (trainer.engine.optimiser divides by the count over all).
"""

from typing import Any

import torch
from torch import Tensor

from trainer.engine.distributed import World


def gathered(x: Tensor, world: World) -> Tensor:
    """(b, ...) of each process, of one shape -> (world.size * b, ...) in the order of ranks, differentiable."""
    if world.size == 1:
        return x
    return _Gathered.apply(x, world)  # pyright: ignore[reportReturnType]


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, world: World) -> Tensor:
        ctx.world = world
        return torch.cat(world.gather(x))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (grad,) = grads
        summed = grad.clone(memory_format=torch.contiguous_format)
        ctx.world.add_up(summed)
        return summed.chunk(ctx.world.size)[ctx.world.rank], None
