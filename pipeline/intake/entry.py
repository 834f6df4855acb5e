"""One described image: a line of a .jsonl file, or the NAME.json beside an image. Both have the same keys.

Unknown keys are refused with the nearest known one, since "polgon" would otherwise lose its gold in silence; whatever
else is worth keeping goes under "extra".
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from annotators.masks import Mask
from annotators.registry import unknown
from pipeline.intake.gold_masks import (
    mask_from_box,
    mask_from_file,
    mask_from_polygons,
    mask_from_rle,
)
from pipeline.intake.refusal import Refused

TEXTS = ("id", "image", "style", "licence", "url", "split", "mask")
GOLD = ("mask", "rle", "polygons", "box")
KEYS = (*TEXTS, "instruction", "instructions", "rle", "polygons", "box", "extra")
URL = re.compile(r"data:|[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def parse_entry(text: bytes) -> dict[str, Any]:
    """A JSON object with known keys, its texts being texts.

    Raises:
        Refused: entry-not-json (also not UTF-8, NaN, half a character), entry-unknown-key, entry-key-type.
    """
    try:
        fields = json.loads(text.decode("utf-8-sig"), parse_constant=_no_constant)
        json.dumps(fields, ensure_ascii=False).encode()  # refuses half characters such as "\\ud800"
    except (ValueError, RecursionError) as error:
        raise Refused("entry-not-json", f"{text[:80]!r}: {error}") from error
    if not isinstance(fields, dict):
        raise Refused("entry-not-json", f"{type(fields).__name__}; expected an object {{...}}")
    for key in fields:
        if key not in KEYS:
            raise Refused("entry-unknown-key", unknown("key", key, sorted(KEYS)))
    for key in TEXTS:
        if key in fields and not isinstance(fields[key], str):
            raise Refused("entry-key-type", f"{key} is {fields[key]!r}; expected text")
    if not isinstance(fields.get("extra", {}), dict):
        raise Refused("entry-key-type", f"extra is {fields['extra']!r}; expected an object")
    if len(given := [key for key in GOLD if key in fields]) > 1:
        raise Refused("entry-key-type", f"gold is given as {' and '.join(given)}; expected one")
    return fields


def entry_instructions(fields: Mapping[str, Any]) -> list[Any]:
    """The phrasings under "instruction" (a text) or "instructions" (a list), or both, in that order.

    Raises:
        Refused: entry-key-type.
    """
    several = fields.get("instructions", [])
    if not isinstance(several, list):
        raise Refused("entry-key-type", f"instructions is {several!r}; expected a list of texts")
    return [*([fields["instruction"]] if "instruction" in fields else []), *several]


def entry_extra(fields: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """What the entry wants kept, and how its gold was given when that is no pixel mask."""
    said = dict(fields.get("extra", {}))
    if "box" in fields:
        said["gold_from"] = "box"
    return tuple(said.items())


def entry_gold(fields: Mapping[str, Any], folder: Path, size_hw: tuple[int, int]) -> Mask | None:
    """The gold of an entry whose paths are relative to `folder`, in the frame of the upright image.

    Raises:
        Refused: as `pipeline.intake.gold_masks` says.
    """
    if "mask" in fields:
        return mask_from_file(local_path(fields["mask"], folder), size_hw)
    if "rle" in fields:
        return mask_from_rle(fields["rle"], size_hw)
    if "polygons" in fields:
        return mask_from_polygons(fields["polygons"], size_hw)
    return mask_from_box(fields["box"], size_hw) if "box" in fields else None


def local_path(text: str, folder: Path) -> Path:
    """`text` as a path relative to `folder`; absolute paths and `..` are taken as they are, on the user's own word.

    Raises:
        Refused: image-url: a build never fetches.
    """
    if URL.match(text):
        raise Refused(
            "image-url", f"{text[:200]} is a URL; download it first, builds use no network"
        )
    return folder / text


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")
