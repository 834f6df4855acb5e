"""What one step minimises: a model and a batch in, a scalar with a gradient and numbers for the log out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from torch import Tensor, nn

from trainer.batch import Batch

Model = TypeVar("Model", bound=nn.Module, contravariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """`loss` is a scalar tensor; `parts` are plain numbers, the same names at every step."""

    loss: Tensor
    parts: Mapping[str, float]


class Objective(Protocol[Model]):
    """A loss over one batch."""

    def __call__(self, model: Model, batch: Batch) -> Step: ...
