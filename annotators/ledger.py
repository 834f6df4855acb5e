"""What a build has spent on calls, and the limits it may not pass: an append-only file that survives every kill.

One JSON object per line. A call is *reserved* before it is made, with the most that it can use, and *settled* with what
it used, or *released* when it never reached the server; a reservation that nobody settles (its process was killed)
stays spent with all that was reserved. Whoever appends holds the file's lock and has read every line before it, so
that the limits hold over all threads, processes and machines that share the file.

The lock is `flock` on the ledger itself: `lockf` would not keep two ledgers of one process apart and is lost when any
descriptor of the file is closed, and network file systems refresh a file when that file is locked, not its neighbour.
A line cut by a kill was never acted on (reservations are on disk before their call starts) and is cut away.
"""

import fcntl
import json
import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from annotators.halt import Halt

MILLION = 1_000_000
POLL = 0.1
"""Seconds between two looks at other people's open reservations, on average."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one build may spend at most; None is no limit. Prices are money per million tokens, in any one currency."""

    calls: int | None = None
    tokens: int | None = None
    money: float | None = None
    prompt_price: float = 0.0
    completion_price: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What one expert has used. `seconds` is the wall time of its settled calls, summed, for information."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached: int = 0
    seconds: float = 0.0
    money: float = 0.0

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(**{k: getattr(self, k) + getattr(other, k) for k in self.__dataclass_fields__})


class BudgetSpent(Halt):
    """The next call could pass a limit of the budget."""


class Stopped(Halt):
    """The build was stopped elsewhere while this one waited; the reason told there is the one that counts."""


class Ledger:
    """The calls of one build, over all its processes and all its runs.

    Safe to share among threads; another process opens its own on the same path. The file is made by the first entry.
    """

    def __init__(self, path: Path, limits: Limits) -> None:
        self.path, self.limits = path, limits
        self._mutex = threading.Lock()
        self._read = 0
        """Bytes of the file that the state below holds; always a whole number of lines."""
        self._lines = 0
        self._calls = 0
        self._open: dict[int, tuple[str, Spent]] = {}
        self._settled: dict[str, Spent] = {}
        self._lost: set[int] = set()
        """Open reservations that were waited for long enough: their process is taken to be dead."""

    def __reduce__(self) -> tuple[type["Ledger"], tuple[Path, Limits]]:
        return Ledger, (self.path, self.limits)

    def reserve(
        self,
        expert: str,
        *,
        model: str,
        prompt_tokens: int,
        completion_tokens: int,
        wait: float = 0.0,
        stop: threading.Event | None = None,
    ) -> int:
        """Reserve one call that uses at most so many tokens; returns its number.

        Where only open reservations stand in the way, which may yet be settled with less, they are waited for up to
        `wait` seconds, or until `stop` is set.

        Raises:
            BudgetSpent: the call could pass a limit.
            Stopped: `stop` was set while it waited.
            Halt: the ledger cannot be read or written.
        """
        stop = stop or threading.Event()
        ask = Spent(calls=1, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)
        until = time.monotonic() + wait
        while True:
            with self._locked() as file:
                passed = self._passed(self._sum(with_open=True) + ask)
                if passed is None:
                    entry = {"event": "reserve", "call": self._calls + 1, "expert": expert}
                    entry |= {"model": model, "prompt_tokens": prompt_tokens}
                    entry |= {"completion_tokens": completion_tokens}
                    self._append(file, entry)
                    os.fsync(file)
                    return self._calls
                hopeless = self._passed(self._sum(with_open=False) + ask)
                if hopeless is not None or time.monotonic() >= until:
                    if hopeless is None:
                        self._lost |= self._open.keys()
                    raise BudgetSpent(self._sentence(hopeless or passed, ask))
            if stop.wait(POLL * random.uniform(0.5, 1.5)):
                raise Stopped("a call that waited for the budget was stopped")

    def settle(
        self, call: int, *, prompt_tokens: int, completion_tokens: int, seconds: float
    ) -> None:
        """Say what a reserved call used, in place of what was reserved for it."""
        entry = {"event": "settle", "call": call, "prompt_tokens": prompt_tokens}
        entry |= {"completion_tokens": completion_tokens, "seconds": round(seconds, 3)}
        with self._locked() as file:
            assert call in self._open, f"call {call} is not open"
            self._append(file, entry)

    def release(self, call: int) -> None:
        """Say that a reserved call never reached the server."""
        with self._locked() as file:
            assert call in self._open, f"call {call} is not open"
            self._append(file, {"event": "release", "call": call})

    def count_cached(self, expert: str, *, model: str, answers: int) -> None:
        """Say that so many answers cost no call."""
        entry = {"event": "cached", "expert": expert, "model": model, "answers": answers}
        with self._locked() as file:
            self._append(file, entry)

    def totals(self) -> dict[str, Spent]:
        """Expert -> what all runs of the build have spent on it up to now, open reservations in full."""
        if not self.path.exists():
            return {}
        with self._locked(write=False):
            sums = dict(self._settled)
            for expert, spent in self._open.values():
                sums[expert] = sums.get(expert, Spent()) + spent
        return {
            name: replace(spent, money=self._money(spent)) for name, spent in sorted(sums.items())
        }

    def _money(self, spent: Spent) -> float:
        limits = self.limits
        prompt = spent.prompt_tokens * limits.prompt_price
        return (prompt + spent.completion_tokens * limits.completion_price) / MILLION

    def _sum(self, *, with_open: bool) -> Spent:
        """All experts; without open reservations that may yet be settled with less."""
        total = Spent()
        for spent in self._settled.values():
            total += spent
        for call, (_, spent) in self._open.items():
            if with_open or call in self._lost:
                total += spent
        return total

    def _passed(self, spent: Spent) -> str | None:
        """The name of the first limit that `spent` passes."""
        limits = self.limits
        if limits.calls is not None and spent.calls > limits.calls:
            return "calls"
        if (
            limits.tokens is not None
            and spent.prompt_tokens + spent.completion_tokens > limits.tokens
        ):
            return "tokens"
        if limits.money is not None and self._money(spent) > limits.money * (1 + 1e-9):
            return "money"
        return None

    def _sentence(self, limit: str, ask: Spent) -> str:
        spent = self._sum(with_open=True)
        so_far = (
            f"{spent.calls} calls, {spent.prompt_tokens} + {spent.completion_tokens} tokens, "
            f"{self._money(spent):.4f} money"
        )
        most = ""
        if limit != "calls":
            most = (
                f" and the next call may use {ask.prompt_tokens} + {ask.completion_tokens} tokens"
            )
        return (
            f"the budget of {getattr(self.limits, limit)} {limit} is spent ({so_far} so far{most}); raise it with "
            f"--set budget.{limit}=N and run the same command again, it goes on where it stopped"
        )

    @contextmanager
    def _locked(self, *, write: bool = True) -> Iterator[int]:
        """The ledger's file, locked, with the state of this object brought up to its last line."""
        with self._mutex:
            try:
                if write:
                    self.path.parent.mkdir(parents=True, exist_ok=True)
                flags = os.O_RDWR | os.O_CREAT | os.O_APPEND if write else os.O_RDONLY
                file = os.open(self.path, flags, 0o644)
            except OSError as error:
                raise Halt(f"the ledger of calls {self.path} cannot be opened: {error}") from None
            try:
                fcntl.flock(file, fcntl.LOCK_EX if write else fcntl.LOCK_SH)
                self._catch_up(file, write)
                yield file
            except OSError as error:
                raise Halt(
                    f"the ledger of calls {self.path} cannot be kept ({error}), and without it no call is made; "
                    "put that right and run the same command again, it resumes"
                ) from None
            finally:
                os.close(file)

    def _catch_up(self, file: int, write: bool) -> None:
        size = os.fstat(file).st_size
        if size < self._read:
            raise Halt(f"the ledger of calls {self.path} was cut or replaced while it was in use")
        data = bytearray()
        while part := os.pread(file, size - self._read - len(data), self._read + len(data)):
            data += part
        *lines, torn = bytes(data).split(b"\n")
        for line in lines:
            self._take(line)
        self._read = size - len(torn)
        if torn and write:
            os.ftruncate(file, self._read)

    def _append(self, file: int, entry: dict[str, Any]) -> None:
        line = json.dumps(entry, separators=(",", ":")).encode() + b"\n"
        try:
            written = 0
            while written < len(line):
                written += os.write(file, line[written:])
        except OSError:
            os.ftruncate(file, self._read)
            raise
        self._take(line)
        self._read += len(line)

    def _take(self, line: bytes) -> None:
        """Bring one line into the state."""
        self._lines += 1
        try:
            entry = json.loads(line)
            match entry["event"]:
                case "reserve":
                    self._calls += 1
                    self._open[int(entry["call"])] = (str(entry["expert"]), _used(entry, calls=1))
                case "settle":
                    expert, _ = self._open.pop(entry["call"])
                    self._add(expert, _used(entry, calls=1, seconds=float(entry["seconds"])))
                case "release":
                    self._open.pop(entry["call"])
                case "cached":
                    self._add(str(entry["expert"]), Spent(cached=int(entry["answers"])))
                case other:
                    raise ValueError(f"unknown event {other!r}")
        except (ValueError, KeyError, TypeError) as error:
            raise Halt(
                f"the ledger of calls {self.path}, line {self._lines} is damaged ({type(error).__name__}: {error}); "
                "put back a whole copy, or move it away to begin a new budget"
            ) from None

    def _add(self, expert: str, spent: Spent) -> None:
        self._settled[expert] = self._settled.get(expert, Spent()) + spent


def _used(entry: dict[str, Any], *, calls: int, seconds: float = 0.0) -> Spent:
    return Spent(
        calls=calls,
        prompt_tokens=int(entry["prompt_tokens"]),
        completion_tokens=int(entry["completion_tokens"]),
        seconds=seconds,
    )
