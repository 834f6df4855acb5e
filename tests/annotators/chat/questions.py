"""Small questions for tests, and an endpoint in a hurry to ask them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from annotators.chat.asker import Question
from annotators.chat.endpoint import Endpoint

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"target": {"type": "string"}, "count": {"type": "integer"}},
    "required": ["target", "count"],
    "additionalProperties": False,
}


def ask_for(
    user: str,
    *,
    system: str = "Name the target.",
    max_tokens: int = 64,
    shade: int | None = None,
    schema: Mapping[str, Any] = SCHEMA,
) -> Question:
    """A question; with an image of one grey where a shade is given."""
    images = () if shade is None else (np.full((8, 12, 3), shade, np.uint8),)
    return Question(
        system=system,
        user=user,
        images=images,
        schema_name="target",
        schema=schema,
        max_tokens=max_tokens,
    )


def many(count: int) -> list[Question]:
    return [ask_for(f"thing number {number}") for number in range(count)]


def quick(**options: object) -> Endpoint:
    """An endpoint that gives up soon."""
    return Endpoint("chat", **({"timeout": 5.0, "patience": 20.0} | options))  # type: ignore[arg-type]


def texts(answers: list[str | Exception]) -> list[str]:
    assert all(isinstance(answer, str) for answer in answers), answers
    return [answer for answer in answers if isinstance(answer, str)]


def one(endpoint: Endpoint, user: str = "the mug") -> str | Exception:
    (answer,) = endpoint.ask([ask_for(user)])
    return answer
