"""Runs units on Ray core: a pool of worker actors, a bound on units in flight, retries charged to the unit.

Ray only schedules. The plan and the commit are ours: a unit is one call that writes one shard and one receipt, so
a worker that dies leaves at most a temporary file. A unit whose worker died `crew.ATTEMPTS` times is replayed one input
at a time, each in an actor of its own; inputs that kill theirs are poison and are quarantined, the rest is committed.
Ray Data is not used: it retries a crashing row for ever and drops whole blocks on errors.

Experts with `resources` live in replicas of their own (`pipeline.panel_pools`). A desk hands each replica one call at a
time, so that a death is charged to the call that ran and to no other: a batch that kills is asked again row by row, and
a row that goes on killing costs that expert's vote on that sample.
"""

import asyncio
import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import ray
from ray.exceptions import ObjectLostError, RayError, RayTaskError

from annotators.halt import Halt
from pipeline import crew
from pipeline.config import ExpertUse
from pipeline.line import Job, Line, Unit, make_line, seats_of
from pipeline.manifest import Receipt
from pipeline.panel_pools import (
    GIB,
    Pool,
    Pooled,
    Raised,
    Replica,
    check_fit,
    pool_key,
    pools_of,
    spread_workers,
)
from pipeline.panel_seats import make
from pipeline.work import run_unit, walk

BATCH_ATTEMPTS = 2
"""Calls with several rows are given up sooner: their rows are asked again one by one."""
REVIVAL = 600
"""Seconds that a replica may take to come back before the pool goes on without it."""
STRIKES = 20
"""Deaths and timeouts of a pool without one answer in between that stop the build: votes are lost wholesale."""

log = logging.getLogger(__name__)


class _Worker:
    """Holds one line; lives until it dies or the build ends.

    The line is made by the first call: what a constructor of an actor raises looks like a death, and would be blamed
    on the inputs.
    """

    def __init__(self, job: Job, pools: Mapping[str, Pool], desk: Any) -> None:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        self.job, self.pools, self.desk = job, pools, desk

    @cached_property
    def line(self) -> Line:
        return make_line(self.job, self._expert)

    def run(self, unit: Unit, poison: frozenset[int]) -> Receipt:
        return run_unit(self.line, unit, self.job.root, poison)

    def probe(self, unit: Unit, number: int) -> None:
        """Walk one input of the unit and commit nothing: dies if the input is poison."""
        walk(self.line, Unit(index=unit.index, start=number, stop=number + 1))

    def _expert(self, use: ExpertUse) -> Any:
        if use.resources is None:
            return make(use)
        key = pool_key(use)

        def send(method: str, columns: Sequence[Sequence[Any]], rest: Mapping[str, Any]) -> Any:
            asked = [ray.put((columns, rest))]
            try:
                return ray.get(self.desk.ask.remote(key, method, asked, len(columns[0])))
            except RayError as error:  # no fault of the expert: its vote must not be lost over it
                raise Halt(f"the desk of the expert pools failed: {error}") from error

        return Pooled(self.pools[key], send)


class _Desk:
    """Between workers and replicas. Workers wait here: a worker has one call at most, a replica one at a time."""

    def __init__(self, pools: Mapping[str, Pool], replicas: Mapping[str, Sequence[Any]]) -> None:
        self._pools = pools
        self._idle: dict[str, asyncio.Queue[Any]] = {key: asyncio.Queue() for key in pools}
        for key, actors in replicas.items():
            for actor in actors:
                self._idle[key].put_nowait(actor)
        self._alive = {key: len(actors) for key, actors in replicas.items()}
        self._strikes = dict.fromkeys(pools, 0)
        self._broken: dict[str, Raised] = {}
        self._running: dict[Any, tuple[str, float]] = {}
        self._chores: set[asyncio.Task[None]] = set()

    async def ask(self, key: str, method: str, asked: list[Any], rows: int) -> Any:
        """The answers of one replica, or what they came to."""
        pool, attempts = self._pools[key], crew.ATTEMPTS if rows == 1 else BATCH_ATTEMPTS
        for _ in range(attempts):
            replica = await self._idle[key].get()
            if replica is None:  # the pool is broken, and whoever else waits must hear it too
                self._idle[key].put_nowait(None)
                return self._broken[key]
            call = replica.answer.remote(method, asked[0])
            self._running[call] = (pool.name, asyncio.get_running_loop().time())
            try:
                answer = await asyncio.wait_for(call, pool.resources.timeout)
            except TimeoutError:
                ray.kill(replica, no_restart=False)
                self._strike(key, replica, "did not answer")
                return Raised(
                    kind="TimeoutError", text=f"no answer within {pool.resources.timeout:g} s"
                )
            except (RayTaskError, ObjectLostError) as error:  # e.g. the worker that asked is gone
                self._idle[key].put_nowait(replica)
                return Raised.of(error)
            except RayError:
                self._strike(key, replica, "died")
            else:
                self._strikes[key] = 0
                self._idle[key].put_nowait(replica)
                return answer
            finally:
                del self._running[call]
        what = "this sample" if rows == 1 else f"these {rows} samples"
        return Raised(kind="ExpertDied", text=f"its process died {attempts} times on {what}")

    async def running(self) -> list[tuple[str, float]]:
        """Expert and seconds of every call that is being answered."""
        now = asyncio.get_running_loop().time()
        return [(name, now - since) for name, since in self._running.values()]

    def _strike(self, key: str, replica: Any, how: str) -> None:
        self._strikes[key] += 1
        if self._strikes[key] >= STRIKES:
            times = f"{how} and gave no answer {STRIKES} times in a row"
            self._break(key, f"{times}: look at its memory and its worker log of Ray")
        chore = asyncio.get_running_loop().create_task(self._revive(key, replica))
        self._chores.add(chore)
        chore.add_done_callback(self._chores.discard)

    async def _revive(self, key: str, replica: Any) -> None:
        """Put a replica back to work once Ray has started it again."""
        clock = asyncio.get_running_loop().time
        until = clock() + REVIVAL
        while True:
            try:
                await asyncio.wait_for(replica.ready.remote(), max(1.0, until - clock()))
            except RayTaskError as error:
                self._break(key, f"cannot be made again: {error.cause}")
                return
            except (RayError, TimeoutError):
                if clock() > until:
                    break
                await asyncio.sleep(0.2)
            else:
                self._idle[key].put_nowait(replica)
                return
        self._alive[key] -= 1
        if not self._alive[key]:
            self._break(key, f"did not come back within {REVIVAL} s: look at `ray status`")

    def _break(self, key: str, why: str) -> None:
        text = f"expert {self._pools[key].name!r} {why}"
        self._broken.setdefault(key, Raised(kind="Halt", text=text, halt=True))
        self._idle[key].put_nowait(None)


def run_on_ray(job: Job, units: Sequence[Unit], *, workers: int | None = None) -> Iterator[Receipt]:
    """Yield the receipt of each unit as it is committed, in any order.

    Uses the cluster this process is connected to or told of (`RAY_ADDRESS`, as `ray job submit` sets it), else
    starts one on this machine. `workers` defaults to the CPUs that the expert pools leave, and to more than there are
    replicas.

    Raises:
        OSError, ValueError: what `run_unit` and `make_line` raise, from the worker; or the pools do not fit.
        Halt: an expert says that the build must stop; what is in flight is cancelled.
    """
    actors: list[Any] = []
    with crew.cluster(workers):
        try:
            yield from _run(job, units, workers, actors)
        finally:
            for actor in actors:
                ray.kill(actor)


def _run(
    job: Job, units: Sequence[Unit], workers: int | None, actors: list[Any]
) -> Iterator[Receipt]:
    pools = pools_of(seats_of(job))
    total = ray.cluster_resources()
    if pools:
        check_fit(pools.values(), total, [n["Resources"] for n in ray.nodes() if n["Alive"]])
    desk = _open_pools(job, pools, actors) if pools else None
    count, share = spread_workers(workers, pools.values(), total.get("CPU", 1), len(units))
    actor: Any = ray.remote(num_cpus=share, max_restarts=0)(_Worker)

    def hire() -> Any:
        worker = actor.remote(job, pools, desk)
        actors.append(worker)
        return worker

    yield from crew.run_units(
        units, hire=hire, fire=actors.remove, count=count, slow=lambda: _slow_experts(desk)
    )


def _open_pools(job: Job, pools: Mapping[str, Pool], actors: list[Any]) -> Any:
    """Start all replicas and the desk before them; every actor is added to `actors`."""
    replicas: dict[str, list[Any]] = {}
    for key, pool in pools.items():
        asked = pool.resources
        options: dict[str, Any] = {"num_cpus": asked.cpus, "num_gpus": asked.gpus}
        if asked.memory_gib:
            options["memory"] = math.ceil(asked.memory_gib * GIB)
        kind: Any = ray.remote(max_restarts=-1, **options)(Replica)
        replicas[key] = [kind.remote(job, pool) for _ in range(asked.replicas)]
        actors += replicas[key]
    waiting = [replica.ready.remote() for each in replicas.values() for replica in each]
    while waiting:
        done, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=crew.PATIENCE)
        try:
            ray.get(done)
        except RayTaskError as error:
            raise error.cause from None
        if waiting:
            log.warning(
                "%d replicas have not started for %d s, free resources %s",
                len(waiting), crew.PATIENCE, ray.available_resources(),
            )  # fmt: skip
    desk = ray.remote(num_cpus=0, max_restarts=0)(_Desk).remote(pools, replicas)
    actors.append(desk)
    return desk


def _slow_experts(desk: Any) -> str:
    """Which experts have been answering one call for longer than `crew.PATIENCE`."""
    if desk is None:
        return ""
    try:
        running = ray.get(desk.running.remote(), timeout=crew.PATIENCE)
    except RayError as error:
        return f"; the desk of the expert pools does not answer ({type(error).__name__})"
    slow = [(name, s) for name, s in running if s > crew.PATIENCE]
    return "".join(f"; expert {name!r} has not answered for {s:.0f} s" for name, s in slow)
