"""The json member as one literal of types: every field always present, always of one type (data_cards/FORMAT.md).

The codec holds what it writes and what it reads against it; `pipeline.features` makes the features of `datasets` from
it. Python's json alone takes what the format does not: NaN and Infinity, true for a number, a text for a list of texts.
"""

import json
import math
from collections.abc import Iterator
from typing import Any

RLE = {"size": ["int64"], "counts": "string"}
PROVENANCE = {
    "expert": "string",
    "model": "string",
    "revision": "string",
    "prompt_version": "string",
    "score_raw": "float64",
    "config_hash": "string",
}

JSON_SCHEMA: dict[str, Any] = {
    "format": "int64",
    "id": "string",
    "height": "int64",
    "width": "int64",
    "instructions": ["string"],
    "style": "string",
    "source": {
        "dataset": "string",
        "split": "string",
        "key": "string",
        "licence": "string",
        "url": "string",
        "image_sha256": "string",
        "transcoded": "string",
    },
    "gold_role": "string",
    "gold": RLE,
    "label": {
        "kind": "string",
        "rule": "string",
        "members": ["int64"],
        "box": ["float64"],
        "area": "int64",
    },
    "quality": {
        "score": "float64",
        "rule": "string",
        "parts": [{"name": "string", "value": "float64"}],
    },
    "phrases": [
        {
            "text": "string",
            "role": "string",
            "made_by": "string",
            "model": "string",
            "prompt_version": "string",
            "count": "int64",
            "relation": "string",
        }
    ],
    "proposals": [{"box": ["float64"], "phrase": "int64", "score": "float64", **PROVENANCE}],
    "candidates": [
        {
            "mask": RLE,
            "phrase": "int64",
            "proposal": "int64",
            "mask_score": "float64",
            "stability": "float64",
            "boxed_by": "string",
            **PROVENANCE,
        }
    ],
    "faults": ["string"],
    "extra": "string",
}
"""Every field of `{id}.json`, in order: a string names a scalar type, a dict is a struct, a one-item list a list."""

_PYTHON = {"string": str, "int64": int, "float64": float}


def check_fields(value: Any, schema: Any = JSON_SCHEMA, *, at: str = "") -> Iterator[str]:
    """Say what in a parsed json member departs from `schema`: missing, unknown and mistyped fields, NaN.

    Strict: an int where a float is due is a departure, because a reader that infers types would cast to it.

    >>> list(check_fields({"a": 1, "b": []}, {"a": "float64", "b": ["int64"]}))
    ['a is int 1; expected float64']
    """
    if isinstance(schema, str):  # the most frequent case: one leaf
        if type(value) is not _PYTHON[schema] or (
            type(value) is float and not math.isfinite(value)
        ):
            yield f"{at} is {type(value).__name__} {str(value)[:40]}; expected {schema}"
    elif isinstance(schema, dict):
        if not isinstance(value, dict):
            yield f"{at or 'the member'} is {type(value).__name__}; expected an object"
            return
        for name in schema:
            inner = f"{at}.{name}".lstrip(".")
            if name not in value:
                yield f"{inner} is missing"
            else:
                yield from check_fields(value[name], schema[name], at=inner)
        for name in sorted(value.keys() - schema.keys()):
            yield f"{f'{at}.{name}'.lstrip('.')} is not a field of this format"
    elif not isinstance(value, list):
        yield f"{at} is {type(value).__name__}; expected a list"
    else:
        for position, item in enumerate(value):
            yield from check_fields(item, schema[0], at=f"{at}[{position}]")


def parse_json(data: bytes | str) -> Any:
    """`json.loads` that takes no NaN or Infinity and reports nesting bombs as what they are.

    Raises:
        ValueError: not JSON.
    """
    try:
        return json.loads(data, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")
