"""Asks an OpenAI-compatible endpoint: cached, in parallel, within a budget, through outages.

Each question is looked up in the reply cache, asked at most once at a time in this process, reserved in the ledger
before every attempt, and tried again with jittered waits until `patience` is over. What then remains unanswered is that
question's loss, unless nobody else was answered either: a server that is gone stops the build, for going on would lose
votes wholesale. Which server, key and model: `annotators.chat.profile`.
"""

import logging
import random
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from annotators.chat.asker import Question
from annotators.chat.backoff import backoff
from annotators.chat.breaker import Breaker, Pass
from annotators.chat.cache import Kept, ReplyCache, request_key
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
from annotators.chat.images import data_url
from annotators.chat.ledger import Ledger, Stopped
from annotators.chat.profile import Profile, read_profile
from annotators.chat.request import Dialect, make_request, most_prompt_tokens
from annotators.halt import Halt

NONSENSE_TRIES = 3
QUORUM, NONSENSE_QUORUM = 2, 5
"""So many different questions without an answer, and none with one, speak against the server."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    question: Question
    request: dict[str, Any]
    key: str
    most_prompt: int


class Endpoint:
    """An asker over the chat completions of an OpenAI-compatible server; an expert holds one.

    Light to make and to pickle. Safe to use from several threads; they share one circuit breaker.
    """

    def __init__(
        self,
        expert: str,
        *,
        profile: str = "chat",
        concurrency: int = 8,
        timeout: float = 60.0,
        patience: float = 300.0,
        image_side: int = 1024,
        cache: bool = True,
    ) -> None:
        """`timeout` s for one call, `patience` s for all calls of one question and the waits between them.

        `expert` is the name under which calls are booked, `concurrency` the most calls of one batch at a time,
        `image_side` the longest side in px that an image is sent with.

        Raises:
            ValueError: a number is not above 0.
        """
        numbers = {"concurrency": concurrency, "timeout": timeout, "image_side": image_side}
        for name, value in (numbers | {"patience": patience}).items():
            if not value > 0:
                raise ValueError(f"{name} of a chat endpoint is {value}; expected more than 0")
        self.expert, self.profile, self.concurrency = expert, profile, concurrency
        self.timeout, self.patience, self.image_side = timeout, patience, image_side
        self.cache = cache
        self.ledger: Ledger | None = None
        self._wake()

    def _wake(self) -> None:
        """What belongs to this process alone."""
        self._lock = threading.Lock()
        self._rng = random.Random()
        self._breaker = Breaker(longest=min(15.0, self.patience / 10), rng=self._rng)
        self._caller: Caller | None = None
        self._asked: dict[str, Future[str | Exception]] = {}
        """Questions on their way: who asks the same waits for the same answer."""

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if not k.startswith("_")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._wake()

    @property
    def model(self) -> str:
        """What the environment calls the model.

        Raises:
            ValueError: the environment does not name a server, a key or a model.
        """
        return read_profile(self.profile).model

    def bill(self, ledger: Ledger) -> None:
        """Charge all later calls to `ledger`; before this, nothing is limited or recorded."""
        self.ledger = ledger

    def close(self) -> None:
        """Close the connections; the next question opens new ones."""
        with self._lock:
            if self._caller is not None:
                self._caller.close()
            self._caller = None

    def ask(self, questions: Sequence[Question]) -> list[str | Exception]:
        """See `annotators.chat.asker.Asker`. Equal questions are asked once.

        Raises:
            Halt: the environment names no server, a budget is spent (`BudgetSpent`), the server refuses everything,
                or it answered nobody for `patience` seconds. What was answered until then is in the cache.
        """
        if not questions:
            return []
        caller = self._connect()
        cache = ReplyCache.at_home() if self.cache else None
        tasks = self._tasks(questions, caller.profile)
        unique = {task.key: task for task in tasks}
        stop, hits = threading.Event(), [0]
        pool = ThreadPoolExecutor(min(self.concurrency, len(unique)), thread_name_prefix="chat")
        try:
            futures = {
                key: pool.submit(self._answer, task, caller, cache, stop, hits)
                for key, task in unique.items()
            }
            wait(futures.values(), return_when=FIRST_EXCEPTION)
        finally:
            stop.set()  # who waits for another try gives up; calls on their way are heard out and kept
            pool.shutdown(cancel_futures=True)
            if self.ledger is not None and hits[0]:
                model = caller.profile.model
                self.ledger.count_cached(self.expert, model=model, answers=hits[0])
        done = [future for future in futures.values() if not future.cancelled()]
        errors = [error for future in done if (error := future.exception()) is not None]
        for error in sorted(errors, key=lambda error: isinstance(error, Stopped)):
            raise error
        answers = {key: future.result() for key, future in futures.items()}
        return [answers[task.key] for task in tasks]

    def _connect(self) -> Caller:
        """The caller to the server that the environment names now."""
        try:
            profile = read_profile(self.profile)
        except ValueError as error:
            raise Halt(str(error)) from None
        with self._lock:
            if self._caller is None or self._caller.profile != profile:
                try:
                    self._caller = Caller(profile, timeout=self.timeout)
                    weakref.finalize(self, self._caller.close)
                except ImportError:
                    raise Halt(
                        "chat experts need the openai package: pip install 'maskmix[experts]'"
                    ) from None
            return self._caller

    def _tasks(self, questions: Sequence[Question], profile: Profile) -> list[_Task]:
        urls: dict[int, str] = {}  # samples of one photograph bring the same array

        def encode(image: Any) -> str:
            if id(image) not in urls:
                urls[id(image)] = data_url(image, self.image_side)
            return urls[id(image)]

        tasks: list[_Task] = []
        for question in questions:
            request = make_request(question, profile.model, encode)
            most = most_prompt_tokens(question, self.image_side)
            key = request_key(request)
            tasks.append(_Task(question=question, request=request, key=key, most_prompt=most))
        return tasks

    def _answer(
        self,
        task: _Task,
        caller: Caller,
        cache: ReplyCache | None,
        stop: threading.Event,
        hits: list[int],
    ) -> str | Exception:
        """One question's answer: kept, on its way already, or asked for."""
        with self._lock:
            on_its_way = self._asked.get(task.key)
            mine: Future[str | Exception] = Future()
            if on_its_way is None:
                self._asked[task.key] = mine
        if on_its_way is not None:
            answer = on_its_way.result()
            with self._lock:
                hits[0] += isinstance(answer, str)
            return answer
        try:
            if cache is not None and (kept := cache.get(task.key)) is not None:
                with self._lock:
                    hits[0] += 1
                answer = kept.text
            else:
                answer = self._persist(task, caller, cache, stop)
            mine.set_result(answer)
            return answer
        except BaseException as error:
            mine.set_exception(error)
            raise
        finally:
            with self._lock:
                del self._asked[task.key]

    def _persist(
        self, task: _Task, caller: Caller, cache: ReplyCache | None, stop: threading.Event
    ) -> str | Exception:
        """Try until there is an answer, a last word, or no patience left."""
        until = time.monotonic() + self.patience
        dialect = caller.dialect
        tries = nonsense = 0
        failure: CallError | None = None
        while True:
            given = self._pass(until, stop)
            if given is None:
                return self._give_up(failure, caller)
            try:
                reply = self._attempt(task, caller, dialect, given, stop)
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
                self._keep(cache, task.key, reply)
                return reply.text
            asked = failure.retry_after if isinstance(failure, Busy) else None
            left = until - time.monotonic()
            if nonsense >= NONSENSE_TRIES or left <= 0 or (asked or 0.0) > left:
                return self._give_up(failure, caller)
            self._rest(min(left, backoff(tries, retry_after=asked, rng=self._rng)), stop)

    def _attempt(
        self, task: _Task, caller: Caller, dialect: Dialect, given: Pass, stop: threading.Event
    ) -> Reply:
        """One call: reserved, made, booked, and the breaker told."""
        most = (task.most_prompt, task.question.max_tokens)
        told = False
        try:
            with self._booked(most, caller, stop) as used:
                try:
                    reply = caller.call(task.request, dialect)
                    prompt, completion = reply.prompt_tokens, reply.completion_tokens
                    used[:] = (
                        most[0] if prompt is None else prompt,
                        most[1] if completion is None else completion,
                    )
                    told = True
                    self._breaker.succeeded()
                    return reply
                except CallError as error:
                    used[:] = () if isinstance(error, Unreached) else error.tokens or most
                    told = True
                    if isinstance(error, Unreached | Broken):
                        self._breaker.failed(given, task.key)
                    elif isinstance(error, Busy | Nonsense):
                        self._breaker.put_off(given, task.key)
                    else:
                        self._breaker.succeeded()
                    raise
        finally:
            if not told:
                self._breaker.gave_back(given)

    @contextmanager
    def _booked(
        self, most: tuple[int, int], caller: Caller, stop: threading.Event
    ) -> Iterator[list[int]]:
        """Reserve a call; settle it with what the block leaves in the list, release it where that is empty."""
        used = [*most]
        ledger = self.ledger
        if ledger is None:
            yield used
            return
        call = ledger.reserve(
            self.expert,
            model=caller.profile.model,
            prompt_tokens=most[0],
            completion_tokens=most[1],
            wait=self.timeout,
            stop=stop,
        )
        start = time.monotonic()
        try:
            yield used
        finally:
            if used:
                seconds = time.monotonic() - start
                ledger.settle(
                    call, prompt_tokens=used[0], completion_tokens=used[1], seconds=seconds
                )
            else:
                ledger.release(call)

    def _pass(self, until: float, stop: threading.Event) -> Pass | None:
        """The breaker's leave to call; None when it is not to be had before patience ends."""
        while not isinstance(given := self._breaker.ask_pass(), Pass):
            left = until - time.monotonic()
            if left <= 0:
                return None
            self._rest(min(left, given), stop)
        return given

    def _rest(self, seconds: float, stop: threading.Event) -> None:
        if stop.wait(seconds):
            raise Stopped("a question that waited for another try was stopped")

    def _give_up(self, failure: CallError | None, caller: Caller) -> Exception:
        """The question's own loss, or the end of the build: who is to blame?

        Raises:
            Halt: the server answers nobody.
        """
        failing = self._breaker.failing_questions()
        quorum = NONSENSE_QUORUM if isinstance(failure, Nonsense) else QUORUM
        if failure is None or isinstance(failure, Unreached) or failing >= quorum:
            last = f"; the last failure: {failure}" if failure else ""
            raise Halt(
                f"chat endpoint {caller.profile.shown} does not answer, and {self.patience:g} s of patience are over "
                f"({failing} questions without an answer){last}. Once it answers again, run the same command again: "
                "it resumes, and what was answered is not asked again"
            )
        return failure

    def _keep(self, cache: ReplyCache | None, key: str, reply: Reply) -> None:
        if cache is None:
            return
        tokens = {
            "prompt_tokens": reply.prompt_tokens or 0,
            "completion_tokens": reply.completion_tokens or 0,
        }
        try:
            cache.put(key, Kept(text=reply.text, **tokens))
        except OSError as error:  # an answer that cannot be kept is still an answer
            log.warning("a reply could not be kept in %s: %s", cache.folder, error)
