"""A question as the body of a chat completion request, and the most tokens that it can cost.

Sampling is greedy with a fixed seed. Servers differ in which parameters they know: `Dialect` holds what one server has
refused, and the request is spoken accordingly.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annotators.chat.asker import Question
from annotators.chat.images import sent_size

SEED = 0
OPTIONAL = ("response_format", "seed", "temperature")
"""Parameters that a request can do without."""
LIMIT, NEW_LIMIT = "max_tokens", "max_completion_tokens"
"""Newer servers know the limit of a reply by the second name only."""
TEMPLATE_TOKENS = 64
"""What a chat template puts around two messages, at most."""
PATCH = 14
"""Pixels of the finest patch that gives a token in common vision models."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """Which parameters a server does not know."""

    unknown: frozenset[str] = frozenset()

    def speak(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The request without what the server does not know."""
        spoken = {k: v for k, v in request.items() if k not in self.unknown}
        if LIMIT in self.unknown:
            spoken[NEW_LIMIT] = request[LIMIT]
        return spoken

    def after(self, parameter: str | None, text: str) -> "Dialect | None":
        """The dialect to try after a refusal that names `parameter`, or says so in `text`; None: no other will do."""
        known = [name for name in (*OPTIONAL, LIMIT) if name not in self.unknown]
        named = [p for p in known if (parameter == p if parameter else p in text)]
        if LIMIT in named and NEW_LIMIT not in text:
            named.remove(LIMIT)  # the number is refused, not the name
        return Dialect(unknown=self.unknown | {*named}) if named else None


def make_request(
    question: Question, model: str, encode: Callable[[NDArray[np.uint8]], str]
) -> dict[str, Any]:
    """The body of the request; `encode` gives the URL of an image."""
    content: Any = question.user
    if question.images:
        content = [
            {"type": "image_url", "image_url": {"url": encode(image)}} for image in question.images
        ]
        content.append({"type": "text", "text": question.user})
    messages = [{"role": "user", "content": content}]
    if question.system:
        messages.insert(0, {"role": "system", "content": question.system})
    request = {"model": model, "messages": messages}
    if question.schema is not None:
        schema = {"name": question.schema_name, "schema": dict(question.schema), "strict": True}
        request["response_format"] = {"type": "json_schema", "json_schema": schema}
    return {**request, "temperature": 0, "seed": SEED, LIMIT: question.max_tokens}


def most_prompt_tokens(question: Question, image_side: int) -> int:
    """An upper bound of the prompt's tokens: one for each byte of text and schema, one for each patch of an image.

    No tokenizer in use gives more than one token for a byte of UTF-8. Some hosted models charge more for an image; then
    calls that are already on their way may pass a limit of tokens or money, later ones do not.
    """
    texts = (question.system, question.user, json.dumps(dict(question.schema or {})))
    tokens = TEMPLATE_TOKENS + sum(len(text.encode("utf-8", "replace")) for text in texts)
    for image in question.images:
        height, width = sent_size(image.shape[:2], image_side)
        tokens += TEMPLATE_TOKENS + -(-height // PATCH) * -(-width // PATCH)
    return tokens
