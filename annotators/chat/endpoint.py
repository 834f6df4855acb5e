"""Asks an OpenAI-compatible endpoint: cached, in parallel, each question once.

A question is looked up in the reply cache, shared with whoever asks the same at the same time in this process, and
otherwise tried until it is answered (`annotators.chat.tries`). Which server, key and model: `annotators.chat.profile`.
"""

import logging
import os
import threading
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import Any

from annotators.chat.asker import Question
from annotators.chat.cache import Kept, ReplyCache, request_key
from annotators.chat.call import Caller, Reply
from annotators.chat.images import data_url
from annotators.chat.profile import Profile, read_profile
from annotators.chat.request import make_request, most_prompt_tokens
from annotators.chat.tries import Task, Tries
from annotators.halt import Halt
from annotators.ledger import Ledger, Stopped

log = logging.getLogger(__name__)


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
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """`timeout` s for one call, `patience` s for all calls of one question and the waits between them.

        `expert` is the name under which calls are booked, `concurrency` the most calls of one batch at a time,
        `image_side` the longest side in px that an image is sent with. `variables` go before those of the environment
        when the profile is read: an address or a model that a person typed; never a key, which would travel with this
        object.

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
        self.variables = dict(variables or {})
        self.ledger: Ledger | None = None
        self._wake()

    def _wake(self) -> None:
        """What belongs to this process alone."""
        self._lock = threading.Lock()
        self._tries = Tries(self.expert, patience=self.patience)
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
        return self._profile().model

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

    def _profile(self) -> Profile:
        return read_profile(self.profile, {**os.environ, **self.variables})

    def _connect(self) -> Caller:
        """The caller to the server that the environment names now."""
        try:
            profile = self._profile()
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

    def _tasks(self, questions: Sequence[Question], profile: Profile) -> list[Task]:
        urls: dict[int, str] = {}  # samples of one photograph bring the same array

        def encode(image: Any) -> str:
            if id(image) not in urls:
                urls[id(image)] = data_url(image, self.image_side)
            return urls[id(image)]

        tasks: list[Task] = []
        for question in questions:
            request = make_request(question, profile.model, encode)
            most = (most_prompt_tokens(question, self.image_side), question.max_tokens)
            tasks.append(Task(request=request, key=request_key(request), most=most))
        return tasks

    def _answer(
        self,
        task: Task,
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
                reply = self._tries.answer(task, caller, self.ledger, stop)
                answer = reply.text if isinstance(reply, Reply) else reply
                if isinstance(reply, Reply) and cache is not None:
                    _keep(cache, task.key, reply)
            mine.set_result(answer)
            return answer
        except BaseException as error:
            stop.set()
            mine.set_exception(error)
            raise
        finally:
            with self._lock:
                del self._asked[task.key]


def _keep(cache: ReplyCache, key: str, reply: Reply) -> None:
    tokens = {
        "prompt_tokens": reply.prompt_tokens or 0,
        "completion_tokens": reply.completion_tokens or 0,
    }
    try:
        cache.put(key, Kept(text=reply.text, **tokens))
    except OSError as error:  # an answer that cannot be kept is still an answer
        log.warning("a reply could not be kept in %s: %s", cache.folder, error)
