"""One attempt at one call, and what came of it. The classes of failure are the retry policy.

The openai client speaks HTTP; its own retries are off. The reply is read in pieces, so that neither a server that sends
one byte now and then nor one that never stops sending can hold a call longer, or take more memory, than agreed.
"""

import json
import time
from dataclasses import dataclass
from typing import Any

from annotators.chat.backoff import parse_retry_after
from annotators.chat.profile import Profile
from annotators.chat.request import Dialect
from annotators.halt import Halt

LONGEST_REPLY = 8 << 20
"""Bytes of a reply that are read at most."""
TOLD = 200
"""Characters of a server's message that an error repeats."""
BUSY = (408, 409, 425, 429)
HOPELESS = {
    401: "refuses the key",
    402: "wants to be paid",
    404: "does not know the address or the model",
}
"""Refusals that every question would meet."""
GATEWAY = (502, 503, 504)
"""Said by a gateway when the server behind it is gone."""
NEVER_SENT = {"ConnectError", "ConnectTimeout", "PoolTimeout"}
"""Errors of the HTTP library (httpx or its successor, as the client has it) before a request is sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A whole answer. Tokens are None where the server does not count them."""

    text: str
    prompt_tokens: int | None
    completion_tokens: int | None


class CallError(Exception):
    """A call without an answer. `tokens`: (prompt, completion) that it used; None where nobody knows."""

    def __init__(self, message: str, *, tokens: tuple[int, int] | None = (0, 0)) -> None:
        super().__init__(message)
        self.tokens = tokens


class Unreached(CallError):
    """The request never reached the server: costs nothing, try again."""


class Broken(CallError):
    """The server failed over it, or was silent: try again."""


class Busy(CallError):
    """The server is there and says "not now": try again, not before `retry_after` seconds have passed."""

    def __init__(self, message: str, *, retry_after: float | None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Nonsense(CallError):
    """A reply that is no chat completion: a proxy's page, half a JSON. Try again a few times."""


class NoAnswer(CallError):
    """The server's last word on this question, and no answer: refused, cut, empty."""


class Refused(CallError):
    """The server does not take the request as it is spoken; `parameter` and `text` are its words about it."""

    def __init__(self, message: str, *, parameter: str | None, text: str) -> None:
        super().__init__(message)
        self.parameter, self.text = parameter, text


class Caller:
    """Makes calls to the server of one profile; shared by threads."""

    def __init__(self, profile: Profile, *, timeout: float) -> None:
        import openai

        self.profile, self.timeout = profile, timeout
        self._client = openai.OpenAI(
            base_url=profile.base_url,
            api_key=profile.api_key,
            timeout=openai.Timeout(timeout, connect=min(timeout, 10.0)),
            max_retries=0,
        )
        self.dialect = Dialect()
        """What the server was found to understand; remembered as long as this object lives."""

    def close(self) -> None:
        self._client.close()

    def call(self, request: dict[str, Any], dialect: Dialect) -> Reply:
        """Ask once.

        Raises:
            CallError: one of its kinds, as the server behaved.
            Halt: the server refuses everything.
        """
        failure: Exception
        try:
            return self._read(self._post(dialect.speak(request)))
        except (CallError, Halt) as error:
            failure = error
        # Raised out here, so that no chain of causes carries the request and its headers along.
        failure.__context__ = failure.__cause__ = None
        raise failure

    def alive(self) -> bool:
        """Whether the server answers at all: asked for its list of models, which costs nothing."""
        import openai

        try:
            with self._client.models.with_streaming_response.list():
                return True
        except openai.APIStatusError as error:
            return error.status_code not in GATEWAY
        except openai.APIConnectionError:
            return False

    def _post(self, body: dict[str, Any]) -> bytes:
        import openai

        until = time.monotonic() + self.timeout
        completions = self._client.chat.completions.with_streaming_response
        data = bytearray()
        try:
            with completions.create(**body) as response:
                for piece in response.iter_bytes():  # as they come
                    data += piece
                    if len(data) > LONGEST_REPLY:
                        raise Nonsense(self._say("sends without end"), tokens=None)
                    if time.monotonic() > until:
                        raise Broken(self._say(f"took over {self.timeout:g} s"), tokens=None)
        except openai.APIStatusError as error:
            raise self._status(error) from None
        except openai.APITimeoutError as error:
            raise self._lost(error, f"was silent for {self.timeout:g} s") from None
        except openai.APIConnectionError as error:
            raise self._lost(error, "cannot be reached or broke off") from None
        except CallError:
            raise
        except (
            Exception
        ) as error:  # while the reply is read, the HTTP library's own errors come through
            if type(error).__module__.partition(".")[0] not in ("httpx", "httpx2"):
                raise
            raise Broken(self._say(f"broke off: {type(error).__name__}"), tokens=None) from None
        return bytes(data)

    def _lost(self, error: Exception, what: str) -> CallError:
        """The kind of a failure below HTTP: did the request leave this machine?"""
        cause = error.__cause__
        names = {cls.__name__ for cls in type(cause).__mro__}
        if names & NEVER_SENT:
            return Unreached(self._say(f"cannot be reached: {self._tell(str(cause))}"))
        return Broken(self._say(f"{what}: {type(cause).__name__}"), tokens=None)

    def _status(self, error: Any) -> Exception:
        """The kind of an HTTP status that is no success. `error` is the client's."""
        status = int(error.status_code)
        body = error.body if isinstance(error.body, dict) else {}
        text = self.profile.scrub(
            str(body.get("message") or body.get("detail") or error.body or "")
        )
        said = self._say(f"answered {status}: {self._tell(text)}")
        if status in BUSY:
            asked = parse_retry_after(error.response.headers.get("retry-after"))
            return Busy(said, retry_after=asked)
        if status == 503 and error.response.headers.get("retry-after"):
            return Busy(said, retry_after=parse_retry_after(error.response.headers["retry-after"]))
        if status >= 500:
            return Broken(said)
        if status in HOPELESS:
            return Halt(
                f"{said}; it {HOPELESS[status]}: put that right and run the same command again"
            )
        if status in (400, 422):
            parameter = self.profile.scrub(str(body.get("param") or "")) or None
            return Refused(said, parameter=parameter, text=text)
        return NoAnswer(said)

    def _read(self, data: bytes) -> Reply:
        try:
            whole = json.loads(data)
            choice = whole["choices"][0]
            text, finish = choice["message"].get("content"), choice.get("finish_reason")
            refusal = choice["message"].get("refusal")
        except (
            ValueError,
            KeyError,
            IndexError,
            TypeError,
            AttributeError,
            RecursionError,
        ) as error:
            start = self._tell(data[: 16 * TOLD].decode("utf-8", "replace"))
            what = f"sent no chat completion ({type(error).__name__}): {start!r}"
            raise Nonsense(self._say(what), tokens=None) from None
        usage = whole.get("usage") if isinstance(whole.get("usage"), dict) else {}
        prompt, completion = (
            _count(usage.get("prompt_tokens")),
            _count(usage.get("completion_tokens")),
        )
        used = None if prompt is None or completion is None else (prompt, completion)
        if finish == "length":
            raise NoAnswer(self._say("cut the reply: it is longer than max_tokens"), tokens=used)
        if refusal:
            raise NoAnswer(self._say(f"declines: {self._tell(str(refusal))}"), tokens=used)
        if finish != "stop":
            raise NoAnswer(self._say(f"ended with {self._tell(repr(finish))}"), tokens=used)
        if not isinstance(text, str) or not text.strip():
            raise NoAnswer(self._say("gave an empty reply"), tokens=used)
        return Reply(
            text=self.profile.scrub(text), prompt_tokens=prompt, completion_tokens=completion
        )

    def _say(self, what: str) -> str:
        return f"chat endpoint {self.profile.shown} {what}"

    def _tell(self, text: str) -> str:
        """A server's words, safe to repeat: without the key, on one line, short."""
        line = " ".join(self.profile.scrub(text).split())
        return "".join(c if c.isprintable() else "?" for c in line)[:TOLD]


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
