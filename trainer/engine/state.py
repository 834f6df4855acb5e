"""The whole state of a training as named tensors, for a checkpoint, and back.

`model.*` and `objective.*` are parameters and buffers, `ema.*` their moving averages, `adamw.*` the optimiser's moments
by the name of the parameter. Frozen parameters are no part of it: whoever builds the model again has them.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trainer.engine.averaging import Average
from trainer.engine.optimiser import Optimiser
from trainer.engine.trainee import remembered


def state_tensors(trainee: nn.Module, optimiser: Optimiser, average: Average) -> dict[str, Tensor]:
    """Name -> tensor; the tensors are the live ones."""
    tensors = {name: value.detach() for name, value in remembered(trainee).items()}
    tensors |= {f"ema.{name}": value for name, value in average.tensors.items()}
    tensors |= {f"adamw.{name}": value for name, value in optimiser.tensors().items()}
    return tensors


@torch.no_grad()
def restore(
    trainee: nn.Module, optimiser: Optimiser, average: Average, tensors: Mapping[str, Tensor]
) -> None:
    """Put stored tensors in their places.

    Raises:
        ValueError: they are of another model or objective.
    """
    places = remembered(trainee) | {f"ema.{name}": t for name, t in average.tensors.items()}
    stored = {name: t for name, t in tensors.items() if not name.startswith("adamw.")}
    odd = sorted(places.keys() ^ stored.keys())
    odd += [n for n in places if n in stored and places[n].shape != stored[n].shape]
    if odd:
        raise ValueError(
            f"the checkpoint is of another model or recipe: {len(odd)} tensors differ, {odd[0]} among them; use "
            "another run folder"
        )
    for name, place in places.items():
        place.copy_(stored[name])
    moments = {n.removeprefix("adamw."): t for n, t in tensors.items() if n.startswith("adamw.")}
    optimiser.restore(moments)
