"""Independent trainings side by side in processes of one thread each.

Small models gain more from that than from threads inside one training. Fresh processes (spawn): a fork of a process in
which torch runs threads can hang. One thread each also means that how many run at once changes no number; a training
with more threads may differ from one with fewer in the last bits. Where there are several GPUs, the processes take
them in turn.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import Any, TypeVar

import torch

from trainer.orphans import leave_with_parent

T = TypeVar("T")


def run_side_by_side(
    work: Callable[..., T], jobs: Sequence[tuple[Any, ...]], *, workers: int
) -> Iterator[tuple[int, T]]:
    """Yield (index of the job, `work(*job)`) as they come, in order when `workers` is 1.

    One worker runs in this process with its threads; more run in processes. `work` is a module-level function. The
    first error ends it.

    Raises:
        ValueError: `workers` is less than one.
    """
    if workers < 1:
        raise ValueError(f"{workers} workers; expected at least 1")
    if workers == 1:
        for index, job in enumerate(jobs):
            yield index, work(*job)
        return
    context = get_context("spawn")
    with ProcessPoolExecutor(
        workers, mp_context=context, initializer=_settle, initargs=(context.Value("i", 0),)
    ) as pool:
        pending = {pool.submit(work, *job): index for index, job in enumerate(jobs)}
        try:
            for future in as_completed(pending):
                yield pending[future], future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _settle(turn: Any) -> None:
    """Make this process one of several: one thread, and one of the GPUs."""
    leave_with_parent()
    torch.set_num_threads(1)
    with turn.get_lock():
        number, turn.value = turn.value, turn.value + 1
    if (gpus := torch.cuda.device_count()) > 1:
        torch.cuda.set_device(number % gpus)  # what trainer.engine.distributed.choose_device takes
