"""The processes that train one model together, and what they say to each other.

One process is a world of one; `torchrun` and Ray Train start more, and each of them runs the same loop over its share
of every batch. Gradients go through DistributedDataParallel (all-reduce while the backward pass still runs); sums of
losses and weights are added on the device; flags of the host go through gloo on the CPU, so that no process waits for
its GPU to learn that it should stop. All ranks hold the same sums and so come to the same decisions.
"""

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

T = TypeVar("T")
CPU = torch.device("cpu")
TOLD_BY_LAUNCHER = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Process `rank` of `size`, computing on `device`. Beyond one process torch.distributed is initialised.

    group: the gloo group for what the host knows; None: the default group is one. stop_file: a file that asks every
    process to stop, for launchers whose processes get no signals.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = CPU
    group: Any = None
    stop_file: Path | None = None

    @property
    def leads(self) -> bool:
        """Whether this process writes the run folder."""
        return self.rank == 0

    def wrap(self, trainee: nn.Module) -> nn.Module:
        """`trainee`, with gradients averaged over the world in the backward pass."""
        if self.size == 1:
            return trainee
        return nn.parallel.DistributedDataParallel(
            trainee,
            device_ids=[self.device] if self.device.type == "cuda" else None,
            broadcast_buffers=False,  # trainer.engine.memory does, after the step and only what was written
            gradient_as_bucket_view=True,
        )

    def silent(self, wrapped: nn.Module, *, when: bool) -> Any:
        """A context in which a backward pass of `wrapped` sends nothing, for all but the last part of a batch."""
        if when and isinstance(wrapped, nn.parallel.DistributedDataParallel):
            return wrapped.no_sync()
        return nullcontext()

    def add_up(self, tensor: Tensor) -> None:
        """Make `tensor`, on the device, the sum over the world; the host does not wait."""
        if self.size > 1:
            dist.all_reduce(tensor)

    def copy_from_first(self, tensor: Tensor) -> None:
        """Make `tensor`, on the device, the one of rank 0."""
        if self.size > 1:
            dist.broadcast(tensor, 0)

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """The tensors of all ranks, of one shape, in the order of ranks."""
        if self.size == 1:
            return [tensor]
        gathered = [torch.empty_like(tensor) for _ in range(self.size)]
        dist.all_gather(gathered, tensor.contiguous())
        return gathered

    def collect(self, value: T) -> list[T]:
        """The values of all ranks, in their order, at the first; nothing at the others. The host waits.

        What is collected is pickled between processes of one training, none of it data from outside.
        """
        if self.size == 1:
            return [value]
        values: list[Any] | None = [None] * self.size if self.leads else None
        dist.gather_object(value, values, dst=0, group=self.group)
        return values or []

    def largest(self, value: int) -> Callable[[], int]:
        """Ask for the largest `value` over the world; call what comes back for the answer.

        The question travels while the step is computed. What a rank notes after it asked is heard a step later.
        """
        if self.size == 1:
            return lambda: value
        asked = torch.tensor([value])
        work: Any = dist.all_reduce(asked, dist.ReduceOp.MAX, group=self.group, async_op=True)

        def answer() -> int:
            work.wait()
            return int(asked[0])

        return answer

    def meet(self) -> None:
        """Wait on the host until all are here."""
        self.largest(0)()


def choose_device(wanted: str, *, local_rank: int | None = None) -> torch.device:
    """The device that `run.device` names, for one of the processes of a machine.

    Args:
        wanted: `run.device`.
        local_rank: which of the processes; None: this one is on its own, and takes torch's current GPU.

    Raises:
        ValueError: a GPU is wanted, and torch sees none, or fewer than there are processes.
    """
    seen = torch.cuda.device_count()
    if wanted == "cpu" or (wanted == "auto" and not seen):
        return torch.device("cpu")
    if local_rank is None:
        local_rank = torch.cuda.current_device() if seen else 0
    if local_rank >= seen:
        raise ValueError(
            f"run.device is {wanted!r} and torch sees {seen} GPUs; process {local_rank} of this machine has none: "
            "start fewer processes, or set run.device=cpu"
        )
    return torch.device("cuda", local_rank)


def launched() -> bool:
    """Whether a launcher such as torchrun started this process as one of several that train together."""
    return all(name in os.environ for name in TOLD_BY_LAUNCHER)


@contextmanager
def joined(device: str, *, minutes: float = 30.0) -> Iterator[World]:
    """The world that a launcher such as torchrun describes in the environment; this process alone without one.

    Args:
        device: `run.device`.
        minutes: how long processes wait for each other before they give up.

    Raises:
        ValueError: see `choose_device`.
    """
    if not launched():
        yield World(device=choose_device(device))
        return
    place = choose_device(device, local_rank=int(os.environ["LOCAL_RANK"]))
    if place.type == "cuda":
        torch.cuda.set_device(place)
    patience = timedelta(minutes=minutes)
    dist.init_process_group("nccl" if place.type == "cuda" else "gloo", timeout=patience)
    try:
        yield world_of_group(place, minutes=minutes)
    finally:
        # whoever still holds the group keeps its threads alive, and one that drops the last tensor while Python ends
        # aborts the process; models wrapped for it lie in cycles
        gc.collect()
        dist.destroy_process_group()


def world_of_group(
    device: torch.device, *, minutes: float = 30.0, stop_file: Path | None = None
) -> World:
    """The world of torch.distributed's default group, which must be initialised; `minutes` as of `joined`."""
    patience = timedelta(minutes=minutes)
    group = dist.new_group(backend="gloo", timeout=patience) if device.type == "cuda" else None
    return World(
        rank=dist.get_rank(),
        size=dist.get_world_size(),
        device=device,
        group=group,
        stop_file=stop_file,
    )
