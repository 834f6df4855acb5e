"""Expert pools, as far as they are not Ray's: which there are, whether they fit, and what passes between processes.

An expert whose use in the recipe has `resources` lives in replicas of its own, shared by all unit workers, which hold a
stand-in with the same roles. What an expert raises travels as plain words and is raised again in the worker, so that a
lost vote reads the same wherever the expert lives.
"""

import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from annotators.halt import Halt
from annotators.identity import Identity
from pipeline.config import ExpertUse, Resources
from pipeline.line import Job, open_ledger
from pipeline.manifest import PanelEntry
from pipeline.panel_seats import Seat, Seats, make, methods_of

GIB = 2**30
Send = Callable[[str, Sequence[Sequence[Any]], Mapping[str, Any]], Any]
"""(method, columns, keywords) -> what the replica answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The replicas of one expert: how they are made, what each asks of the cluster, and what stands in for them."""

    use: ExpertUse
    entry: PanelEntry
    name: str
    methods: tuple[str, ...]
    reads_image: bool | None
    """None: the expert has no such attribute."""

    @property
    def resources(self) -> Resources:
        assert self.use.resources is not None
        return self.use.resources


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """An exception in plain words: exceptions of libraries do not always survive pickling."""

    kind: str
    text: str
    halt: bool = False

    @classmethod
    def of(cls, error: Exception) -> "Raised":
        return cls(kind=type(error).__name__, text=str(error), halt=isinstance(error, Halt))

    def again(self) -> Exception:
        """An exception with the same name and text; a Halt is a Halt."""
        return Halt(self.text) if self.halt else type(self.kind, (Exception,), {})(self.text)


class Replica:
    """One expert in a process of its own, made from the job as a worker would make it.

    Torch gets one thread for each CPU that the replica asked for.
    """

    def __init__(self, job: Job, pool: Pool) -> None:
        self._job, self._pool = job, pool
        self._expert: Any = None
        threads = max(1, int(pool.resources.cpus))
        os.environ["OMP_NUM_THREADS"] = str(threads)
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(threads)

    def ready(self) -> None:
        """Make the expert, without loading weights.

        Raises:
            ValueError: it cannot be made here, or is another than the build began with.
        """
        if self._expert is None:
            job, entry = self._job, self._pool.entry
            seats = Seats(make, open_ledger(job.root, job.recipe.budget), job.panel)
            self._expert = seats.seat(entry.stage, entry.position, self._pool.use).expert

    def answer(self, method: str, asked: tuple[Sequence[Any], Mapping[str, Any]]) -> Any:
        """What the expert answers; what it raises as `Raised`, for the whole call or for a row."""
        columns, rest = asked
        try:
            self.ready()
        except ValueError as error:
            return Raised(kind="Halt", text=f"expert {self._pool.name!r}: {error}", halt=True)
        try:
            answers = getattr(self._expert, method)(*columns, **rest)
        except Exception as error:
            return Raised.of(error)
        return [Raised.of(a) if isinstance(a, Exception) else a for a in answers]


class Pooled:
    """Stands in for an expert that lives in a pool: the same name, identity and roles."""

    def __init__(self, pool: Pool, send: Send) -> None:
        self.name = pool.name
        entry = pool.entry
        self.identity = Identity(
            expert=entry.expert,
            model=entry.model,
            revision=entry.revision,
            prompt_version=entry.prompt_version,
            licence=entry.licence,
            config_hash=entry.config_hash,
        )
        if pool.reads_image is not None:
            self.reads_image = pool.reads_image
        for method in pool.methods:
            setattr(self, method, partial(self._ask, send, method))

    def _ask(self, send: Send, method: str, *columns: Sequence[Any], **rest: Any) -> list[Any]:
        answers = send(method, columns, rest)
        if isinstance(answers, Raised):
            raise answers.again()
        return [a.again() if isinstance(a, Raised) else a for a in answers]


def pool_key(use: ExpertUse) -> str:
    """Uses with equal keys share a pool: the same expert, options and resources."""
    assert use.resources is not None
    facts = [use.use, use.options, use.resources.model_dump()]
    return json.dumps(facts, sort_keys=True, default=str)


def pools_of(seats: Iterable[Seat]) -> dict[str, Pool]:
    """The pools that the seats of a panel need, by `pool_key`."""
    pools: dict[str, Pool] = {}
    for seat in seats:
        if seat.use.resources is None or pool_key(seat.use) in pools:
            continue
        pools[pool_key(seat.use)] = Pool(
            use=seat.use,
            entry=seat.entry(),
            name=seat.expert.name,
            methods=tuple(methods_of(seat.expert)),
            reads_image=getattr(seat.expert, "reads_image", None),
        )
    return pools


def needs(resources: Resources) -> dict[str, float]:
    """What one replica asks, in Ray's words; memory in bytes."""
    return {"CPU": resources.cpus, "GPU": resources.gpus, "memory": resources.memory_gib * GIB}


def check_fit(
    pools: Iterable[Pool], total: Mapping[str, float], nodes: Sequence[Mapping[str, float]]
) -> None:
    """Refuse pools that would wait for ever: with one worker (1 CPU) beside them they must fit into the cluster.

    `total` and `nodes` are resources in Ray's words, of the cluster and of each of its nodes.

    Raises:
        ValueError: lists what is asked, what there is, and what to change.
    """
    pools = list(pools)
    asked = {"CPU": 1.0, "GPU": 0.0, "memory": 0.0}
    for pool in pools:
        for kind, amount in needs(pool.resources).items():
            asked[kind] += pool.resources.replicas * amount
    lacking = [kind for kind, amount in asked.items() if amount > total.get(kind, 0.0) + 1e-9]
    homeless = [
        pool.name
        for pool in pools
        if not any(
            all(amount <= node.get(kind, 0.0) + 1e-9 for kind, amount in needs(pool.resources).items())
            for node in nodes
        )
    ]  # fmt: skip
    if not lacking and not homeless:
        return
    listed = [
        f"{pool.name} {pool.resources.replicas} x ({_say(needs(pool.resources))})" for pool in pools
    ]
    where = (
        f"; no single machine of it holds a replica of {', '.join(homeless)}" if homeless else ""
    )
    raise ValueError(
        f"the expert pools do not fit into the cluster: {', '.join(listed)} and one worker (1 CPU) ask for "
        f"{_say(asked)}, and it has {_say({kind: total.get(kind, 0.0) for kind in asked})}{where}. Lower replicas, "
        "cpus, gpus or memory_gib under `resources` in the recipe, leave `resources` out so that experts live inside "
        "the workers, or use a larger cluster (all of its nodes must be up: `ray status`)"
    )


def spread_workers(
    asked: int | None, pools: Iterable[Pool], cpus: float, units: int
) -> tuple[int, float]:
    """How many unit workers to start, and the CPUs that each asks for.

    Without a number asked for: one for each CPU that the pools leave, and with pools at least one more than replicas,
    so that none of them waits for work; workers that mostly wait share CPUs.
    """
    pools = list(pools)
    left = cpus - sum(pool.resources.replicas * pool.resources.cpus for pool in pools)
    replicas = sum(pool.resources.replicas for pool in pools)
    wanted = asked or max(1, int(left), replicas + 1 if pools else 1)
    count = max(1, min(wanted, units))
    share = min(1.0, math.floor(100 * left / count) / 100) if pools else 1.0
    return count, max(0.01, share)


def _say(resources: Mapping[str, float]) -> str:
    words = [
        f"{amount / GIB:g} GiB memory" if kind == "memory" else f"{amount:g} {kind}"
        for kind, amount in resources.items()
        if amount or kind == "CPU"
    ]
    return ", ".join(words)
