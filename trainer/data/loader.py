"""Batches made ahead of the training, in order, by worker processes.

Workers take whole steps in turn. Since a batch is a pure function of its step, whoever makes it, nothing depends on how
many workers there are, and a run goes on with another number as if nothing had happened. Workers are spawned: a fork
of a process in which torch runs threads can hang. Each computes with one thread; batches do not depend on that either
(trainer.data.augment). They live as long as the iterator and are gone when it ends or is closed; signals to stop that
reach the whole group of processes are for the main one to answer, which may still want batches while it saves.
"""

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from trainer.data.batch import Batch
from trainer.data.packed import Packed, pack
from trainer.orphans import leave_with_parent

AHEAD = 2
"""Batches that each worker keeps ready."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A worker's `ValueError` on its way to the one who asked, without the trace of another process."""

    message: str


class Steps(Dataset[Packed | Refused]):
    """Steps start .. stop - 1 as a map-style dataset."""

    def __init__(self, batch_at: Callable[[int], Batch], *, start: int, stop: int) -> None:
        self._batch_at, self._start, self._stop = batch_at, start, stop

    def __len__(self) -> int:
        return self._stop - self._start

    def __getitem__(self, index: int) -> Packed | Refused:
        try:
            return pack(self._batch_at(self._start + index))
        except ValueError as error:
            return Refused(str(error))


def prefetch(
    batch_at: Callable[[int], Batch], *, start: int, stop: int, workers: int, pin: bool = False
) -> Generator[Batch, None, None]:
    """The batches of steps start .. stop - 1, in order. Close it (`contextlib.closing`) when leaving early.

    Args:
        batch_at: a pure function; with workers it crosses to other processes, so it must be picklable.
        start: the first step.
        stop: the step after the last.
        workers: processes; 0 makes each batch here when it is asked for.
        pin: put batches into page-locked memory, for copies to a GPU that do not wait.

    Raises:
        ValueError: `batch_at` raised it, here or in a worker, or the workers are fewer than none.
        RuntimeError: a worker died, or another error of `batch_at` in a worker, with its trace.
    """
    if workers < 0:
        raise ValueError(f"{workers} loader workers; expected 0 or more")
    if workers == 0 or start >= stop:
        for step in range(start, stop):
            batch = batch_at(step)
            yield pack(batch).pin_memory().unpack() if pin else batch
        return
    loader = DataLoader(
        Steps(batch_at, start=start, stop=stop),
        batch_size=None,
        collate_fn=_as_it_is,
        num_workers=workers,
        prefetch_factor=AHEAD,
        multiprocessing_context="spawn",
        worker_init_fn=_start_worker,
        pin_memory=pin,
    )
    batches = _started(loader)
    end = partial(_end, batches._workers)
    atexit.register(end)
    try:
        for _ in range(start, stop):
            found = _next(batches, batches._workers)
            if isinstance(found, Refused):
                raise ValueError(found.message)
            yield found.unpack()
    finally:
        # now, not when the last trace that holds the iterator is forgotten
        batches._shutdown_workers()
        end()
        atexit.unregister(end)


def _started(loader: DataLoader[Any]) -> Any:
    """The loader's iterator, its workers started, without the signal handler that it installs.

    That handler raises in the main thread, in the middle of whatever it does, when a worker dies. The iterator notices
    a death by itself within five seconds of waiting for a batch, where the error belongs.
    """
    if threading.current_thread() is not threading.main_thread():
        return iter(loader)
    before = signal.getsignal(signal.SIGCHLD)
    batches = iter(loader)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL if before is None else before)
    return batches


def _next(batches: Iterator[Packed | Refused], workers: Sequence[BaseProcess]) -> Packed | Refused:
    try:
        return next(batches)
    except (RuntimeError, OSError, EOFError) as error:
        # what a worker had ready goes with it, and the one who fetches it sees a closed socket, a file that is gone ...
        for worker in workers:
            worker.join(0.1)
        dead = [str(worker.exitcode) for worker in workers if not worker.is_alive()]
        if not dead:
            raise
        raise RuntimeError(
            f"a loader worker died (exit code {', '.join(dead)}); the system kills processes when memory, or shared "
            "memory (/dev/shm), runs out: lower run.loader_workers or data.batch, and go on from the last checkpoint"
        ) from error


def _end(workers: Sequence[BaseProcess]) -> None:
    """Kill those that are still there; they hold nothing that could be lost."""
    for worker in workers:
        worker.kill()
        worker.join()


def _as_it_is(found: Any) -> Any:
    return found


def _start_worker(_: int) -> None:
    """One thread each, deaf to the signals that ask the main process to stop, and gone at once when it is done.

    An interpreter that takes itself down while a thread of its queue is inside torch now and then aborts.
    """
    import cv2

    leave_with_parent()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    Finalize(None, _leave, exitpriority=-100)  # after the queues


def _leave() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
