"""What texts a plain folder has for its pictures: NAME.txt beside an image, or a table of them.

Two customs: a text file of the same stem, each line of which is one text for the picture; and the metadata.jsonl or
metadata.csv of the `imagefolder` of the library `datasets`, in any folder, with the columns file_name (relative to the
table) and text. A picture may have both; all its texts are phrasings of it, those beside it first.
"""

import csv
import io
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline.intake.image_files import path_within
from pipeline.intake.refusal import Refused

TABLES = ("metadata.jsonl", "metadata.csv")


def tabled_texts(folder: Path) -> dict[str, list[Any]]:
    """Path of a picture, relative to `folder`, -> its texts as the tables have them. Pictures need not be there.

    Raises:
        ValueError: a table is not readable, has no such columns, or names a file outside of its folder; names the line.
    """
    found: dict[str, list[Any]] = {}
    for root, folders, names in os.walk(folder):
        folders.sort()
        for name in TABLES:
            if name in names:
                for picture, texts in _rows(Path(root) / name):
                    found.setdefault(picture.relative_to(folder).as_posix(), []).extend(texts)
    return found


def texts_beside(picture: Path) -> list[str]:
    """The lines of the text file beside a picture that show something; none without a file.

    Raises:
        Refused: text-unreadable.
    """
    path = picture.with_suffix(".txt")
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise Refused("text-unreadable", f"{path}: {error}") from error
    return [line for line in text.splitlines() if line.strip()]


def _rows(table: Path) -> Iterator[tuple[Path, Sequence[Any]]]:
    try:
        text = table.read_text("utf-8-sig")
        rows = _json_lines(text) if table.suffix == ".jsonl" else _csv_lines(text)
        for number, row in rows:
            name, said = row["file_name"], row["text"]
            try:
                picture = path_within(table.parent, str(name))
            except Refused as error:
                raise ValueError(f"line {number}: {error.detail}") from error
            yield picture, said if isinstance(said, list) else [said]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise ValueError(
            f"{table} is not readable ({error!r}); expected a file_name and a text in every row, as the imagefolder of "
            "`datasets` has them"
        ) from error


def _json_lines(text: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield number, json.loads(line)


def _csv_lines(text: str) -> Iterator[tuple[int, Any]]:
    yield from enumerate(csv.DictReader(io.StringIO(text)), 2)
