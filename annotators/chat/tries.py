"""One question asked until it is answered: each try let in by the breaker, reserved in the ledger, made and booked.

A try that failed in a way that passes is made again after a jittered wait, until `patience` is over. What then remains
unanswered is that question's loss, when the server is there and a few questions alone are poison to it. A server that
is gone, or answers nobody, stops the build: going on would lose votes wholesale.
"""

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from annotators.chat.backoff import backoff
from annotators.chat.breaker import Breaker, Pass
from annotators.chat.call import (
    Broken,
    Busy,
    Caller,
    CallError,
    Nonsense,
    Refused,
    Reply,
    Unreached,
)
from annotators.chat.request import Dialect
from annotators.halt import Halt
from annotators.ledger import Ledger, Stopped

NONSENSE_TRIES = 3
QUORUM = 5
"""So many different questions without an answer, and none with one, speak against the server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A request, its name, and the most tokens that it can use: (prompt, completion)."""

    request: dict[str, Any]
    key: str
    most: tuple[int, int]


class Tries:
    """How calls are tried; shared by all threads that call one server."""

    def __init__(self, expert: str, *, patience: float) -> None:
        self.expert, self.patience = expert, patience
        self._rng = random.Random()
        self._breaker = Breaker(longest=min(15.0, patience / 10), rng=self._rng)

    def answer(
        self, task: Task, caller: Caller, ledger: Ledger | None, stop: threading.Event
    ) -> Reply | CallError:
        """The reply, or the failure that costs the question its answer. Waits end when `stop` is set.

        Raises:
            Halt: a budget is spent, the server refuses or answers nobody, or `stop` was set.
        """
        start = time.monotonic()
        until = start + self.patience
        dialect = caller.dialect
        tries = nonsense = 0
        failure: CallError | None = None
        while (given := self._let_in(until, stop)) is not None:
            try:
                reply = self._try(task, caller, dialect, given, ledger, stop)
            except Refused as error:
                other = dialect.after(error.parameter, error.text)
                if other is None:
                    return error
                dialect = other
                continue
            except (Unreached, Broken, Busy, Nonsense) as error:
                failure = error
                tries += 1
                nonsense += isinstance(error, Nonsense)
            except CallError as error:
                return error
            else:
                caller.dialect = dialect
                return reply
            asked = failure.retry_after if isinstance(failure, Busy) else None
            left = until - time.monotonic()
            if nonsense >= NONSENSE_TRIES or left <= 0 or (asked or 0.0) > left:
                break
            _rest(min(left, backoff(tries, retry_after=asked, rng=self._rng)), stop)
        return self._give_up(failure, caller, time.monotonic() - start)

    def _let_in(self, until: float, stop: threading.Event) -> Pass | None:
        """The breaker's leave to call; None when it is not to be had before `until`."""
        _rest(0.0, stop)
        while not isinstance(given := self._breaker.ask_pass(), Pass):
            left = until - time.monotonic()
            if left <= 0:
                return None
            _rest(min(left, given), stop)
        return given

    def _try(
        self,
        task: Task,
        caller: Caller,
        dialect: Dialect,
        given: Pass,
        ledger: Ledger | None,
        stop: threading.Event,
    ) -> Reply:
        """One call: reserved, made, booked, and the breaker told."""
        told = False
        try:
            with self._booked(task, caller, ledger, stop) as used:
                try:
                    reply = caller.call(task.request, dialect)
                except Halt:
                    used[:] = (0, 0)
                    raise
                except CallError as error:
                    used[:] = () if isinstance(error, Unreached) else error.tokens or task.most
                    told = True
                    if isinstance(error, Unreached | Broken):
                        self._breaker.failed(given, task.key)
                    elif isinstance(error, Busy | Nonsense):
                        self._breaker.put_off(given, task.key)
                    else:
                        self._breaker.succeeded()
                    raise
                counted = (reply.prompt_tokens, reply.completion_tokens)
                used[:] = [
                    most if n is None else n for n, most in zip(counted, task.most, strict=True)
                ]
                told = True
                self._breaker.succeeded()
                return reply
        finally:
            if not told:
                self._breaker.gave_back(given)

    @contextmanager
    def _booked(
        self, task: Task, caller: Caller, ledger: Ledger | None, stop: threading.Event
    ) -> Iterator[list[int]]:
        """Reserve a call; settle it with what the block leaves in the list, release it where that is empty."""
        used = [*task.most]
        if ledger is None:
            yield used
            return
        call = ledger.reserve(
            self.expert,
            model=caller.profile.model,
            prompt_tokens=task.most[0],
            completion_tokens=task.most[1],
            wait=caller.timeout,
            stop=stop,
        )
        start = time.monotonic()
        try:
            yield used
        finally:
            if used:
                prompt, completion = used
                seconds = time.monotonic() - start
                ledger.settle(
                    call, prompt_tokens=prompt, completion_tokens=completion, seconds=seconds
                )
            else:
                ledger.release(call)

    def _give_up(self, failure: CallError | None, caller: Caller, after: float) -> CallError:
        """The question's own loss, or the end of the build: who is to blame?

        Raises:
            Halt: the server answers nobody.
        """
        failing = self._breaker.failing_questions()
        few = failing < QUORUM and not isinstance(failure, Unreached)
        if failure is not None and few and caller.alive():
            return failure
        what = f"does not answer for {after:.0f} s"
        if isinstance(failure, Busy | Nonsense):
            what = "is busy" if isinstance(failure, Busy) else "gives no usable answer"
        last = f"; the last failure: {failure}" if failure else ""
        raise Halt(
            f"chat endpoint {caller.profile.shown} {what} ({failing} questions are without an answer){last}. Once it "
            "answers again, run the same command again: it resumes, and no answer is paid for twice"
        )


def _rest(seconds: float, stop: threading.Event) -> None:
    if stop.wait(seconds):
        raise Stopped("a question that waited for its turn was stopped")
