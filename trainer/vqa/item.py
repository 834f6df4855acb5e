"""One question of a benchmark about one image, as its publisher wrote it, and how its files are read."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A question. `id` is its own within one run.

    `text` is what the model is asked, word for word; `about` what the masker is told to look for: the question without
    its options. `group` is the column or row of the published table that the question counts for. `answer` is the
    letter, "yes" or "no", or the text of reference; `options` are the choices in the order of their letters.
    """

    id: str
    image: Path
    text: str
    about: str
    group: str
    answer: str
    options: tuple[str, ...] = ()


def read_lines(path: Path, keys: tuple[str, ...], what: str) -> list[Mapping[str, Any]]:
    """The objects of a file of JSON lines; blank lines are skipped.

    Raises:
        ValueError: the file is missing or empty, or a line is no object with text under every one of `keys`.
    """
    rows: list[Mapping[str, Any]] = []
    for number, line in enumerate(_text(path).splitlines(), 1):
        if line.strip():
            where = f"{path} line {number}"
            rows.append(_checked(_parsed(line, where), keys, where, what))
    if not rows:
        raise ValueError(f"{path} is empty; expected {what}")
    return rows


def read_object(path: Path, keys: tuple[str, ...], what: str) -> Mapping[str, Any]:
    """The object in a JSON file; errors as `read_lines`."""
    return _checked(_parsed(_text(path), str(path)), keys, str(path), what)


def read_list(path: Path, keys: tuple[str, ...], what: str) -> list[Mapping[str, Any]]:
    """The objects of a list in a JSON file; errors as `read_lines`."""
    rows = _parsed(_text(path), str(path))
    if not isinstance(rows, list) or not rows:
        raise ValueError(f"{path} holds no list; expected {what}")
    return [_checked(row, keys, f"{path} entry {n}", what) for n, row in enumerate(rows)]


def inside(folder: Path, name: str, where: str) -> Path:
    """The image `name` below `folder`.

    Raises:
        ValueError: the name leaves the folder, or there is no such file.
    """
    path = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ValueError(f"{where} names the image {name!r}; expected a path below {folder}")
    if not path.is_file():
        raise ValueError(
            f"{where} names the image {name!r}, and there is none at {path}; set --images to its folder"
        )
    return path


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is no text in UTF-8") from None


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is no JSON: {error}") from None


def _checked(row: Any, keys: tuple[str, ...], where: str, what: str) -> Mapping[str, Any]:
    for key in keys:
        value = row.get(key) if isinstance(row, Mapping) else None
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"{where} has no text {key!r}; expected {what}")
    return row
