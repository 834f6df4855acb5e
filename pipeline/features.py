"""The types of the json member as one literal, from which both our checks and the features of `datasets` are made.

The codec writes these fields, `validate` refuses anything else, and the card declares them: a reader that inferred
them from its first five rows would cut floats to ints and drop fields that were empty so far (FORMAT.md, section 3).
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pipeline.codec import JSON_SUFFIX, MASK_SUFFIX, ImageFormat

if TYPE_CHECKING:
    import datasets

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
    "phrases": [{"text": "string", "role": "string", "made_by": "string"}],
    "proposals": [{"box": ["float64"], "phrase": "int64", "score": "float64", **PROVENANCE}],
    "candidates": [
        {
            "mask": RLE,
            "phrase": "int64",
            "proposal": "int64",
            "mask_score": "float64",
            "stability": "float64",
            **PROVENANCE,
        }
    ],
    "faults": ["string"],
    "extra": "string",
}
"""Every field of `{id}.json`, in order: a string names a scalar type, a dict is a struct, a one-item list a list."""

_PYTHON = {"string": str, "int64": int, "float64": float}


def check_fields(value: Any, schema: Any = JSON_SCHEMA, *, at: str = "") -> Iterator[str]:
    """Say what in a parsed json member departs from `schema`: missing, unknown and mistyped fields.

    Strict: an int where a float is due is a departure, because a reader that infers types would cast to it.

    >>> list(check_fields({"a": 1, "b": []}, {"a": "float64", "b": ["int64"]}))
    ['a is int 1; expected float64']
    """
    if isinstance(schema, dict):
        if not isinstance(value, dict):
            yield f"{at or 'the member'} is {type(value).__name__}; expected an object"
            return
        for name in schema:
            inner = f"{at}.{name}".lstrip(".")
            if name not in value:
                yield f"{inner} is missing"
            else:
                yield from check_fields(value[name], schema[name], at=inner)
        for name in value.keys() - schema.keys():
            yield f"{f'{at}.{name}'.lstrip('.')} is not a field of this format"
    elif isinstance(schema, list):
        if not isinstance(value, list):
            yield f"{at} is {type(value).__name__}; expected a list"
            return
        for position, item in enumerate(value):
            yield from check_fields(item, schema[0], at=f"{at}[{position}]")
    elif type(value) is not _PYTHON[schema]:
        yield f"{at} is {type(value).__name__} {str(value)[:40]}; expected {schema}"


def flat_fields(schema: Any = JSON_SCHEMA, *, at: str = "") -> Iterator[tuple[str, str]]:
    """(path, type) of every leaf of a schema: structs joined by dots, lists marked `[]`.

    >>> list(flat_fields({"a": "string", "b": [{"c": "int64"}]}))
    [('a', 'string'), ('b[].c', 'int64')]
    """
    if isinstance(schema, dict):
        for name, inner in schema.items():
            yield from flat_fields(inner, at=f"{at}.{name}".lstrip("."))
    elif isinstance(schema, list):
        yield from flat_fields(schema[0], at=f"{at}[]")
    else:
        yield at, schema


def hf_features(image_format: ImageFormat) -> "datasets.Features":
    """What `datasets.load_dataset` gives for a dataset of this image format, its own two key columns included."""
    import datasets

    def typed(schema: Any) -> Any:
        if isinstance(schema, dict):
            return {name: typed(inner) for name, inner in schema.items()}
        return (
            datasets.List(typed(schema[0])) if isinstance(schema, list) else datasets.Value(schema)
        )

    return datasets.Features(
        {
            image_format: datasets.Image(),
            MASK_SUFFIX: datasets.Image(),
            JSON_SUFFIX: typed(JSON_SCHEMA),
            "__key__": datasets.Value("string"),
            "__url__": datasets.Value("string"),
        }
    )
