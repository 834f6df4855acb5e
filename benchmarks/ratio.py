"""Ours against a named peer in one process: a ratio is the only number that survives a busy machine.

Both sides do the same fixed work, turn about (peer, ours, ours, peer, ...), after one round that is not counted; their
answers must be equal in every round. CPU-seconds are what counts, wall-clock time stands beside them. One thread each.
"""

import gc
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

ROUNDS = 7
Work = Callable[[], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Smallest, median and largest ratio peer / ours over the rounds; above 1 ours is faster."""

    low: float
    median: float
    high: float


def compare(
    what: str,
    *,
    ours: Work,
    peer: Work,
    peer_name: str,
    same: Callable[[object, object], bool],
    target: float,
    units: int,
    unit: str = "samples",
    rounds: int = ROUNDS,
    peer_share: float = 1.0,
    on_gpu: bool = False,
) -> bool:
    """Measure, print, and say whether the median CPU ratio (on a GPU the wall ratio) reaches `target`.

    `units` is how many of `unit` one round of work handles; `same` compares an answer of ours with one of the peer. A
    peer that would take minutes may do a `peer_share` of the work; its times are then counted as 1 / share of them.

    on_gpu: the works wait for the GPU before they end; the clock on the wall counts.

    Raises:
        SystemExit: the peer is not installed.
        AssertionError: the answers differ, so the two did not do the same work.
    """
    require(peer_name)
    times: dict[str, list[tuple[float, float]]] = {"ours": [], "peer": []}
    load = [os.getloadavg()[0]]
    for number in range(-1, rounds):
        order = ["peer", "ours"] if number % 2 else ["ours", "peer"]
        answers = {}
        for side in order:
            answers[side], *spent = _timed(ours if side == "ours" else peer)
            if number >= 0:
                part = peer_share if side == "peer" else 1.0
                times[side].append((spent[0] / part, spent[1] / part))
        assert same(answers["ours"], answers["peer"]), f"{what}: ours and {peer_name} differ"
    load.append(os.getloadavg()[0])
    cpu, wall = (
        _spread([p[i] / o[i] for o, p in zip(times["ours"], times["peer"], strict=True)])
        for i in (0, 1)
    )
    reached = (wall if on_gpu else cpu).median >= target
    clock, second = (1, "second") if on_gpu else (0, "CPU-second")
    rates = {k: units / statistics.median(t[clock] for t in spent) for k, spent in times.items()}
    say(f"{what}, against {peer_name} {version(peer_name)}")
    say(
        f"  CPU ratio   {cpu.low:6.2f} {cpu.median:6.2f} {cpu.high:6.2f}   (min, median, max of {rounds})"
    )
    if peer_share < 1:
        say(f"  the peer did {peer_share:.0%} of the work, its times are scaled")
    say(f"  wall ratio  {wall.low:6.2f} {wall.median:6.2f} {wall.high:6.2f}")
    say(f"  {unit} per {second}: ours {_count(rates['ours'])}, peer {_count(rates['peer'])}")
    say(f"  answers equal in all rounds; load average {load[0]:.1f} -> {load[1]:.1f}")
    say(f"  target {target:g}: {'reached' if reached else 'MISSED'}")
    return reached


def require(package: str) -> None:
    """Stop when a peer is missing: a comparison with nobody is no result."""
    try:
        version(package)
    except PackageNotFoundError:
        sys.exit(f"benchmark needs its peer {package!r}; run: pip install {package}")


def pin_threads() -> None:
    """One thread for numpy, OpenCV and OpenMP, in this process."""
    import cv2
    import numpy  # noqa: F401 - its thread pool must be there to be limited
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)
    cv2.setNumThreads(1)


def say(line: str) -> None:
    """Print one line at once."""
    print(line, flush=True)


def run(*measures: Callable[[], bool]) -> None:
    """Entry of a benchmark script: exit 1 when a target is missed."""
    pin_threads()
    reached = [measure() for measure in measures]
    sys.exit(0 if all(reached) else 1)


def _count(rate: float) -> str:
    """Whole numbers, and three digits of what is below ten."""
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.3g}"


def _timed(work: Work) -> tuple[object, float, float]:
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    answer = work()
    return answer, time.process_time() - cpu, time.perf_counter() - wall


def _spread(ratios: list[float]) -> Spread:
    return Spread(low=min(ratios), median=statistics.median(ratios), high=max(ratios))
