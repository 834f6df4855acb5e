"""What a chat expert asks, and whom: one small protocol, so that an expert does not know where its answers come from.

`annotators.chat.endpoint.Endpoint` asks a server; a model in this process is another asker. Answers come as text,
untrusted: whoever asked parses them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Question:
    """One question to a chat model; nothing of it but `images` is changed on the way.

    `images` are RGB uint8 (h, w, 3) and stand before the text of the user's message, in this order; an asker may send
    them smaller. `schema` is the JSON schema of the reply, strict: every object says `required` and
    `additionalProperties: false`; `schema_name` is a short name of it ([a-zA-Z0-9_-], at most 64). Without a schema the
    reply is free text, and without a `system` text there is no such message: so are benchmarks asked that publish their
    questions word for word. A reply longer than `max_tokens` is not an answer.
    """

    system: str = ""
    user: str
    images: tuple[NDArray[np.uint8], ...] = ()
    schema_name: str = ""
    schema: Mapping[str, Any] | None = None
    max_tokens: int = 512


@runtime_checkable
class Asker(Protocol):
    """Answers questions, several at a time."""

    @property
    def model(self) -> str:
        """What the model that answers is called.

        Raises:
            ValueError: it is not known yet (the message says what to set).
        """
        ...

    def ask(self, questions: Sequence[Question]) -> list[str | Exception]:
        """The text of the reply to each question, or the exception that cost it.

        Equal questions get equal answers. A text is never empty, and nothing else is promised about it.

        Raises:
            Halt: the build must stop: a budget is spent, or nobody answers.
        """
        ...
