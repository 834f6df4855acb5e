"""Units handed to worker actors on Ray core: one in flight for each, deaths charged to the unit that ran.

What a unit is, and what a worker does with it, is the caller's: a build's shard, or a slice of predictions. A worker is
an actor with `run(unit, poison)`, whose answer is the unit's receipt, and `probe(unit, input)`, which does the work of
one input alone and keeps nothing. A unit whose worker died `ATTEMPTS` times is replayed input by input; those that
kill a worker which does nothing else are poison, and the unit runs once more without them.
"""

import logging
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import ray
from ray.exceptions import RayActorError, RayTaskError

ATTEMPTS = 3
PATIENCE = 60
"""Seconds without a finished unit after which the driver says so, and goes on waiting."""

log = logging.getLogger(__name__)


class Piece(Protocol):
    """A unit: its number among all, and the numbers of its inputs."""

    @property
    def index(self) -> int: ...

    @property
    def inputs(self) -> Iterable[int]: ...


Unit = TypeVar("Unit", bound=Piece)


@contextmanager
def cluster(cpus: int | None = None, *, spare: int = 0) -> Iterator[None]:
    """A connection to Ray: the one there is, the cluster of `RAY_ADDRESS`, else one started on this machine.

    Args:
        cpus: logical CPUs of a cluster started here; at least those of the machine.
        spare: more of them, for what only watches.
    """
    if ray.is_initialized():
        yield
        return
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)  # says tokens are on
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "warning"}
    if not os.environ.get("RAY_ADDRESS"):
        quiet |= {"num_cpus": max(cpus or 0, os.cpu_count() or 1) + spare}
        quiet |= {"include_dashboard": False}
    ray.init(**quiet)
    try:
        yield
    finally:
        ray.shutdown()


def run_units(
    units: Sequence[Unit],
    *,
    hire: Callable[[], Any],
    fire: Callable[[Any], None],
    count: int,
    slow: Callable[[], str] = lambda: "",
) -> Iterator[Any]:
    """Yield the receipt of each unit as it is committed, in any order.

    Args:
        units: what to do.
        hire: a new worker.
        fire: called with each worker that died.
        count: workers side by side.
        slow: what to add to the warning that nothing finishes.

    Raises:
        RuntimeError: a unit kills its workers without the inputs that do.
        Exception: what a worker raises.
    """
    queue = deque((unit, frozenset[int]()) for unit in units)
    deaths: Counter[int] = Counter()
    idle = [hire() for _ in range(count)]
    busy: dict[Any, tuple[Any, Unit, frozenset[int]]] = {}
    while queue or busy:
        while queue and idle:
            worker, (unit, poison) = idle.pop(), queue.popleft()
            busy[worker.run.remote(unit, poison)] = (worker, unit, poison)
        done, _ = ray.wait(list(busy), num_returns=1, timeout=PATIENCE)
        if not done:
            log.warning(
                "no unit finished for %d s: %d in flight, free resources %s%s",
                PATIENCE, len(busy), ray.available_resources(), slow(),
            )  # fmt: skip
            continue
        worker, unit, poison = busy.pop(done[0])
        try:
            receipt = ray.get(done[0])
        except RayActorError:
            fire(worker)
            worker = hire()
            deaths[unit.index] += 1
            if deaths[unit.index] > ATTEMPTS:
                raise RuntimeError(
                    f"unit {unit.index} killed its worker {deaths[unit.index]} times, the last time without the "
                    "inputs that do; look at the worker logs of Ray for what kills it"
                ) from None
            if deaths[unit.index] == ATTEMPTS:
                worker, poison = _find_poison(unit, worker, hire=hire, fire=fire)
            idle.append(worker)
            queue.appendleft((unit, poison))
        except RayTaskError as error:
            raise error.cause from None
        else:
            idle.append(worker)
            yield receipt


def _find_poison(
    unit: Piece, worker: Any, *, hire: Callable[[], Any], fire: Callable[[Any], None]
) -> tuple[Any, frozenset[int]]:
    """A living worker, and the inputs of the unit that kill one that does nothing else.

    Takes over `worker` rather than adding one, which a full cluster would never start.
    """
    found: set[int] = set()
    for number in unit.inputs:
        try:
            ray.get(worker.probe.remote(unit, number))
        except RayActorError:
            found.add(number)
            fire(worker)
            worker = hire()
        except RayTaskError as error:
            raise error.cause from None
    return worker, frozenset(found)
