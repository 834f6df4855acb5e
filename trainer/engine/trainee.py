"""What is trained: model and objective as one module, whose forward pass is one part of a step.

One module, because DistributedDataParallel wants to see one forward pass per backward pass, and an objective may call
the model's methods in any order. It also gives everything that is trained or remembered one name: `model.*` and
`objective.*`, in checkpoints too.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from trainer.data.batch import Batch
from trainer.objectives.protocol import Step


class Trainee(nn.Module):
    """An objective applied to a model.

    Args:
        model: its parameters that require a gradient are trained.
        objective: the loss; where it is a module its parameters are trained too.
        seen: what the objective is given as the model (trainer.engine.precision); the model itself when None.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Callable[[Any, Batch, float], Step],
        *,
        seen: Any = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.objective = objective
        self._seen = [model if seen is None else seen]  # in a list: not to be registered twice

    def forward(self, batch: Batch, progress: float) -> Step:
        """The sums of one part of a batch."""
        return self.objective(self._seen[0], batch, progress)


def trained(trainee: nn.Module) -> dict[str, nn.Parameter]:
    """Name -> parameter of what is trained, averaged and saved: what requires a gradient, each once."""
    return {name: p for name, p in trainee.named_parameters() if p.requires_grad}


def remembered(trainee: nn.Module) -> dict[str, Tensor]:
    """Name -> tensor of what a checkpoint needs of a trainee: what is trained, and buffers. Each once, none frozen."""
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, value in trainee.state_dict(keep_vars=True).items():
        assert isinstance(value, Tensor), f"{name} is no tensor; what is remembered must be buffers"
        frozen = isinstance(value, nn.Parameter) and not value.requires_grad
        if not frozen and id(value) not in seen:
            seen.add(id(value))
            found[name] = value
    return found
