"""CPU-seconds of this process and all below it, Ray's included, from /proc: worker processes come and go unreaped.

Every process is looked at a few times a second and its last reading is kept, so one that ends between two looks loses
at most that much.
"""

import os
import threading
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
EVERY = 0.05
"""Seconds between looks."""


class TreeClock:
    """Counts from `start` on; `seconds()` may be read at any time, and twice to take a difference."""

    def __init__(self) -> None:
        self._last: dict[tuple[int, int], float] = {}
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "TreeClock":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def seconds(self) -> float:
        """User and system time so far, of the living and the dead."""
        self._look()
        with self._lock:
            return sum(self._last.values())

    def _watch(self) -> None:
        while not self._stop.wait(EVERY):
            self._look()

    def _look(self) -> None:
        found = dict(_processes())
        ours = {os.getpid()}
        grew = True
        while grew:
            below = {pid for pid, (parent, _, _) in found.items() if parent in ours} - ours
            ours |= below
            grew = bool(below)
        with self._lock:
            for pid in ours & found.keys():
                _, born, spent = found[pid]
                self._last[(pid, born)] = spent


def _processes() -> list[tuple[int, tuple[int, int, float]]]:
    """(pid, (parent, start time in ticks, CPU-seconds)) of every process that can be read."""
    found: list[tuple[int, tuple[int, int, float]]] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(") ")[2].split()
        except OSError:
            continue  # it has ended since
        spent = (int(fields[11]) + int(fields[12])) / TICK
        found.append((int(entry.name), (int(fields[1]), int(fields[19]), spent)))
    return found
