"""The features of `datasets`, made from the one schema of the json member.

The card declares them: a reader that inferred them from its first five rows would cut floats to ints and drop fields
that were empty so far (FORMAT.md, section 3).
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pipeline.codec import JSON_SUFFIX, MASK_SUFFIX, ImageFormat
from pipeline.schema import JSON_SCHEMA

if TYPE_CHECKING:
    import datasets


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
