"""Runs units on Ray core: a pool of worker actors, a bound on units in flight, retries charged to the unit.

Ray only schedules. The plan and the commit are ours: a unit is one call that writes one shard and one receipt, so
a worker that dies leaves at most a temporary file. A unit whose worker died `ATTEMPTS` times is replayed one input
at a time, each in an actor of its own; inputs that kill theirs are poison and are quarantined, the rest is committed.
Ray Data is not used: it retries a crashing row for ever and drops whole blocks on errors.
"""

import logging
import os
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from pipeline.line import Job, Unit, make_line
from pipeline.manifest import Receipt
from pipeline.work import run_unit, walk

ATTEMPTS = 3
PATIENCE = 60
"""Seconds without a finished unit after which the driver says so, and goes on waiting."""

log = logging.getLogger(__name__)


class _Worker:
    """Holds one line; lives until it dies or the build ends."""

    def __init__(self, job: Job) -> None:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        self.root = job.root
        self.line = make_line(job)

    def run(self, unit: Unit, poison: frozenset[int]) -> Receipt:
        return run_unit(self.line, unit, self.root, poison)

    def probe(self, index: int) -> None:
        """Walk one input and commit nothing: dies if the input is poison."""
        walk(self.line, Unit(index=0, start=index, stop=index + 1))


def run_on_ray(job: Job, units: Sequence[Unit], *, workers: int | None = None) -> Iterator[Receipt]:
    """Yield the receipt of each unit as it is committed, in any order.

    Uses the cluster this process is connected to or told of (`RAY_ADDRESS`, as `ray job submit` sets it), else
    starts one on this machine. `workers` defaults to the CPUs of the cluster.

    Raises:
        OSError, ValueError: what `run_unit` and `make_line` raise, from the worker.
    """
    started = not ray.is_initialized()
    if started:
        _start(workers)
    try:
        yield from _run(job, units, workers or max(1, int(ray.cluster_resources().get("CPU", 1))))
    finally:
        if started:
            ray.shutdown()


def _start(workers: int | None) -> None:
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)  # says tokens are on
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "warning"}
    if os.environ.get("RAY_ADDRESS"):
        ray.init(**quiet)
        return
    cpus = max(workers or 0, os.cpu_count() or 1)
    ray.init(num_cpus=cpus, include_dashboard=False, **quiet)


def _run(job: Job, units: Sequence[Unit], workers: int) -> Iterator[Receipt]:
    actor: Any = ray.remote(num_cpus=1, max_restarts=0)(_Worker)
    queue = deque((unit, frozenset[int]()) for unit in units)
    deaths: dict[int, int] = {}
    idle = [actor.remote(job) for _ in range(min(workers, len(units)))]
    busy: dict[Any, tuple[Any, Unit, frozenset[int]]] = {}
    while queue or busy:
        while queue and idle:
            worker, (unit, poison) = idle.pop(), queue.popleft()
            busy[worker.run.remote(unit, poison)] = (worker, unit, poison)
        done, _ = ray.wait(list(busy), num_returns=1, timeout=PATIENCE)
        if not done:
            log.warning(
                "no unit finished for %d s: %d in flight, free resources %s",
                PATIENCE, len(busy), ray.available_resources(),
            )  # fmt: skip
            continue
        worker, unit, poison = busy.pop(done[0])
        try:
            receipt: Receipt = ray.get(done[0])
        except RayActorError:
            worker = actor.remote(job)
            deaths[unit.index] = deaths.get(unit.index, 0) + 1
            if deaths[unit.index] > ATTEMPTS:
                raise RuntimeError(
                    f"unit {unit.index} killed its worker {deaths[unit.index]} times, the last time without the "
                    "inputs that do; look at the worker logs of Ray for what kills it"
                ) from None
            if deaths[unit.index] == ATTEMPTS:
                worker, poison = _find_poison(actor, worker, job, unit)
            idle.append(worker)
            queue.appendleft((unit, poison))
        except RayTaskError as error:
            raise error.cause from None
        else:
            idle.append(worker)
            yield receipt


def _find_poison(actor: Any, worker: Any, job: Job, unit: Unit) -> tuple[Any, frozenset[int]]:
    """A living worker, and the inputs of the unit that kill one that does nothing else.

    Takes over `worker` rather than adding one, which a full cluster would never start.
    """
    found: set[int] = set()
    for index in range(unit.start, unit.stop):
        try:
            ray.get(worker.probe.remote(index))
        except RayActorError:
            found.add(index)
            worker = actor.remote(job)
    return worker, frozenset(found)
