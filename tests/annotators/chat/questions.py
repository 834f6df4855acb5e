"""Small questions for tests."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from annotators.chat.asker import Question

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
