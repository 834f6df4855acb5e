"""What one step minimises: a model and a batch in, a sum with a gradient and what to divide it by out.

Sums and not means, because a step's samples may be spread over micro-batches and processes: the loop adds the totals
and the counts of all of them and divides once, so that how the batch was cut changes nothing but the last bits.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from torch import Tensor, nn

from trainer.data.batch import Batch

Model = TypeVar("Model", bound=nn.Module, contravariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The loss of some samples: `total / count` once both are summed over the whole step.

    total: scalar with a gradient, sum over the samples of weight times loss. count: scalar without one, sum of the
    weights; a step whose counts add up to 0 changes nothing. parts: detached scalars for the log, the same names at
    every step, each a sum that is divided by `count` too. No number here is read on the host (`.item()`, `float`,
    `bool`): that would make every step wait for the device.
    """

    total: Tensor
    count: Tensor
    parts: Mapping[str, Tensor]


class Objective(Protocol[Model]):
    """A loss over one batch.

    An objective that remembers something between steps is an `nn.Module`: its buffers are saved in checkpoints and its
    parameters are trained beside the model's.

    A module in it whose buffers hold one entry per sample of the dataset (first axis n, written at `Batch.rows` only)
    names them in a class attribute `row_buffers`, a tuple of names: processes that train together then exchange the
    rows that each has written. Other buffers that a step writes are made those of process 0. What a step that is
    skipped for a non-finite loss or gradient has written to a buffer is undone by the loop (trainer.engine.memory).
    """

    def __call__(self, model: Model, batch: Batch, progress: float) -> Step:
        """`progress` is the share of the training already done, in [0, 1)."""
        ...


class Regulariser(Protocol):
    """What a method adds to the loss of each sample; an `nn.Module` if it remembers, like an objective."""

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        """Mask logits b1hw of the batch -> b, with a gradient into the logits."""
        ...
