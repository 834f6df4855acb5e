"""Buffers that a step may write, of the model and of the objective: undone when it is skipped, one for all processes.

Before the first part of a batch each buffer's content is kept: of buffers with one entry per sample (`row_buffers`,
trainer.objectives.protocol) the rows of this batch, of others the whole, and that only anew when torch's version
counter says that it was written since. After the step a flag on the device chooses between the two, so the host need
not know which it was. Then processes that train together take each other's rows, in the order of ranks, and rank 0's
content of what else was written. All of them must write the same buffers at a step.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer.engine.distributed import World


@dataclass(slots=True)
class _Kept:
    """What a buffer held before a step, and the tensor and the version of it that this was."""

    content: Tensor
    source: Tensor
    version: int


class Memory:
    """The buffers of `trainee`, over the steps of one training.

    Args:
        trainee: model and objective.
        world: who trains it.
    """

    def __init__(self, trainee: nn.Module, world: World) -> None:
        self._world = world
        self._by_row: list[tuple[nn.Module, str]] = []
        self._whole: list[tuple[nn.Module, str]] = []
        for owner, name, by_row in _buffers(trainee):
            (self._by_row if by_row else self._whole).append((owner, name))
        self._kept: dict[tuple[int, str], _Kept] = {}
        self._rows: Tensor | None = None
        self._kept_rows: list[Tensor] = []

    @torch.no_grad()
    def keep(self, rows: Tensor | None) -> None:
        """Before a step with these samples: int64 b, all parts of this process; None where batches name none."""
        for owner, name in self._whole:
            buffer = getattr(owner, name)
            kept = self._kept.get((id(owner), name))
            if kept is None or kept.source is not buffer or kept.version != buffer._version:
                content = buffer.detach().clone()
                self._kept[id(owner), name] = _Kept(content, buffer, buffer._version)
        if self._by_row:
            assert rows is not None, "row_buffers need batches with rows"
            self._rows = rows
            self._kept_rows = [getattr(owner, name)[rows] for owner, name in self._by_row]

    @torch.no_grad()
    def settle(self, finite: Tensor) -> None:
        """After it: take back what was written unless the step was `finite`, a bool scalar on the device."""
        for owner, name in self._whole:
            kept = self._kept[id(owner), name]
            buffer = getattr(owner, name)
            if kept.source is buffer and kept.version == buffer._version:
                continue
            buffer.copy_(torch.where(finite, buffer, kept.content))
            self._world.copy_from_first(buffer)
        if not self._by_row or self._rows is None:
            return
        everyones = self._world.gather(self._rows)
        for (owner, name), before in zip(self._by_row, self._kept_rows, strict=True):
            buffer = getattr(owner, name)
            now = torch.where(finite, buffer[self._rows], before)
            for rows, content in zip(everyones, self._world.gather(now), strict=True):
                buffer[rows] = content


def _buffers(trainee: nn.Module) -> Iterator[tuple[nn.Module, str, bool]]:
    """(module, name, whether it has one entry per sample) of every buffer that is not None."""
    for module in trainee.modules():
        by_row = getattr(module, "row_buffers", ())
        for name, buffer in module.named_buffers(recurse=False):
            assert isinstance(buffer, Tensor)
            yield module, name, name in by_row
