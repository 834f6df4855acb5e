"""A circuit breaker: when a server fails again and again, nobody calls until one probe has shown that it is back.

Closed: all call. After `THRESHOLD` failures in a row it opens: nobody calls for a cool-down. Then one caller may try
(half-open): its success closes the breaker, its failure opens it for twice as long, up to `longest` seconds.
"""

import random
import threading
import time
from dataclasses import dataclass

THRESHOLD = 5
COOL_DOWN = 0.5
POLL = 0.05
"""Seconds after which those look again who wait for another's probe."""


@dataclass(frozen=True, slots=True)
class Pass:
    """The right to make one call."""

    probe: bool


class Breaker:
    """Shared by all threads that call one server.

    It also remembers which questions failed since the last success: when different questions fail and none succeeds,
    the fault is the server's and not a question's.
    """

    def __init__(self, *, longest: float, rng: random.Random) -> None:
        self.longest, self._rng = longest, rng
        self._lock = threading.Lock()
        self._in_a_row = 0
        self._opened = 0
        """How often it has opened since the last success."""
        self._closed_until = 0.0
        self._probing = False
        self._failed: set[str] = set()

    def ask_pass(self) -> Pass | float:
        """A pass to call now, or the seconds after which to ask again. Every pass is given back, one way or another."""
        with self._lock:
            if not self._opened:
                return Pass(probe=False)
            if (left := self._closed_until - time.monotonic()) > 0:
                return left
            if self._probing:
                return POLL
            self._probing = True
            return Pass(probe=True)

    def succeeded(self) -> None:
        """The server answered a question."""
        with self._lock:
            self._in_a_row = self._opened = 0
            self._probing = False
            self._failed.clear()

    def failed(self, given: Pass, question: str) -> None:
        """The server did not answer, or broke down over it."""
        with self._lock:
            self._failed.add(question)
            self._in_a_row += 1
            if given.probe or (not self._opened and self._in_a_row >= THRESHOLD):
                cool_down = min(self.longest, COOL_DOWN * 2.0 ** min(self._opened, 16))
                self._closed_until = time.monotonic() + cool_down * self._rng.uniform(0.5, 1.0)
                self._opened += 1
            if given.probe:
                self._probing = False

    def put_off(self, given: Pass, question: str) -> None:
        """The server is there and gave no answer to `question`: it is busy, or talks nonsense."""
        with self._lock:
            self._failed.add(question)
            self._in_a_row = 0
            if given.probe:
                self._opened = 0
                self._probing = False

    def gave_back(self, given: Pass) -> None:
        """The call was not made."""
        with self._lock:
            if given.probe:
                self._probing = False

    def failing_questions(self) -> int:
        """How many different questions failed since the server last answered one."""
        with self._lock:
            return len(self._failed)
