"""What a batch prediction is asked: photographs of a folder with instructions, or the samples of a dataset; in units.

A unit is a run of photographs, or one shard. Its inputs are numbered through all units, and every number ends as a
prediction or as a reject with a reason. A photograph that is bad is turned away when it is loaded, one by one; a shard
is verified against its receipt, and a damaged one is an error, since nobody can say which of its samples are good.
"""

import csv
import hashlib
import json
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.codec import decode_sample
from pipeline.intake.image_files import list_images, path_within, read_image
from pipeline.intake.images import read_pixels
from pipeline.intake.instructions import clean_instructions
from pipeline.intake.refusal import Refused
from pipeline.manifest import read_manifest, read_receipts
from pipeline.records import safe_id
from pipeline.shards import read_shard
from trainer.data.table import decode_image

PHOTOS_IN_UNIT = 256
TABLES = {".csv": ",", ".tsv": "\t"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One input: which image (a path in the folder, or a sample's key at its source), and what is asked.

    `id` names the answer.
    """

    id: str
    image: str
    instruction: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A run of inputs, `first` to `first + count - 1`, with photographs or with one shard of a dataset.

    `questions` are those of photographs; a shard (a path in the dataset, with its sha256) holds its own.
    """

    index: int
    first: int
    count: int
    questions: tuple[Question, ...] = ()
    shard: str = ""
    sha256: str = ""

    @property
    def inputs(self) -> range:
        """Their numbers."""
        return range(self.first, self.first + self.count)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Loaded:
    """An input that can be answered: `image` RGB uint8 (h, w, 3), upright."""

    number: int
    question: Question
    image: NDArray[np.uint8]
    image_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnedAway:
    """An input that cannot be answered, and why: a slug to count and a sentence to read."""

    number: int
    question: Question
    reason: str
    detail: str


def photo_units(
    folder: Path, *, instruction: str | None, file: Path | None, size: int = PHOTOS_IN_UNIT
) -> list[Unit]:
    """Units over a folder of photographs: all of them with one instruction, or those that a file names.

    Args:
        folder: of photographs; folders inside are looked into.
        instruction: asked of every photograph.
        file: .jsonl with `image` and `instruction` in every line, or .csv or .tsv with these columns; images are paths
            in the folder. A photograph may be named several times; those that are not named are not asked about.
        size: photographs in a unit.

    Raises:
        ValueError: neither or both of instruction and file are given, the folder holds no photograph, or the file is
            not of that form.
    """
    if (instruction is None) == (file is None):
        raise ValueError(
            "a folder of photographs needs either one instruction, or a file of instructions"
        )
    if file is not None:
        if not folder.is_dir():
            raise ValueError(f"there is no folder {folder}")
        pairs = read_instructions(file)
    else:
        assert instruction is not None
        clean_instructions([instruction])
        pairs = [(name, instruction) for name in list_images(folder)]
    questions = [
        Question(id=id, image=image, instruction=text)
        for id, (image, text) in zip(_ids([image for image, _ in pairs]), pairs, strict=True)
    ]
    return [
        Unit(index=i, first=at, count=len(run), questions=tuple(run))
        for i, at in enumerate(range(0, len(questions), size))
        if (run := questions[at : at + size])
    ]


def shard_units(root: Path) -> list[Unit]:
    """A unit for each shard of a finished dataset folder.

    Raises:
        ValueError: the dataset is unfinished.
    """
    shards = set(read_manifest(root).shards)
    units: list[Unit] = []
    first = 0
    for receipt in read_receipts(root):
        if receipt.shard in shards:
            units.append(
                Unit(
                    index=len(units),
                    first=first,
                    count=receipt.committed,
                    shard=receipt.shard,
                    sha256=receipt.sha256,
                )
            )
            first += receipt.committed
    if not units:
        raise ValueError(f"{root} holds no sample; there is nothing to predict")
    return units


def load_unit(
    base: Path, unit: Unit, numbers: Collection[int] | None = None
) -> Iterator[Loaded | TurnedAway]:
    """The inputs of a unit in order, or those with `numbers` alone; `base` is the folder or the dataset.

    Raises:
        ValueError: a shard is missing or damaged.
    """
    if not unit.shard:
        for number, question in enumerate(unit.questions, unit.first):
            if numbers is None or number in numbers:
                yield _load_photo(base, number, question)
        return
    path = base / unit.shard
    if not path.exists():
        raise ValueError(f"{base}: shard {unit.shard} is missing; run `maskmix verify {base}`")
    members = read_shard(path, sha256=unit.sha256, count=unit.count)
    for number, (key, parts) in enumerate(members, unit.first):
        if numbers is not None and number not in numbers:
            continue
        sample = decode_sample(key, parts)
        question = Question(id=key, image=sample.source.key, instruction=sample.instructions[0])
        yield Loaded(
            number=number,
            question=question,
            image=decode_image(sample),
            image_sha256=sample.source.image_sha256,
        )


def read_instructions(file: Path) -> list[tuple[str, str]]:
    """(image, instruction) of every line, as written.

    Raises:
        ValueError: the file is missing, empty, or a line lacks one of the two.
    """
    if file.suffix not in (".jsonl", *TABLES):
        raise ValueError(f"instructions {file}; expected a .jsonl, .csv or .tsv file")
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"instructions {file} cannot be read: {error}") from error
    rows = _lines(file, text) if file.suffix == ".jsonl" else _rows(text, TABLES[file.suffix])
    pairs: list[tuple[str, str]] = []
    for line, row in rows:
        image, words = row.get("image"), row.get("instruction")
        if not isinstance(image, str) or not isinstance(words, str):
            raise ValueError(
                f"{file}, line {line}: expected texts `image` and `instruction`, found {sorted(map(str, row))}"
            )
        pairs.append((image, words))
    if not pairs:
        raise ValueError(f"{file} holds no instruction")
    return pairs


def _lines(file: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{file}, line {number} is no JSON: {error}") from error
        yield number, row if isinstance(row, dict) else {}


def _rows(text: str, delimiter: str) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(text.splitlines(keepends=True), delimiter=delimiter, restkey="(more)")
    for row in reader:
        yield reader.line_num, row


def _load_photo(folder: Path, number: int, question: Question) -> Loaded | TurnedAway:
    try:
        (text,) = clean_instructions([question.instruction])
        data = read_image(path_within(folder, question.image))
        image = read_pixels(data)
    except Refused as error:
        detail = error.detail[:500].encode("utf-8", "backslashreplace").decode()
        return TurnedAway(number=number, question=question, reason=error.reason, detail=detail)
    asked = Question(id=question.id, image=question.image, instruction=text)
    sha256 = hashlib.sha256(data).hexdigest()
    return Loaded(number=number, question=asked, image=image, image_sha256=sha256)


def _ids(images: Sequence[str]) -> list[str]:
    """An id for each row: the name without its ending where that tells it apart, else with what does.

    >>> _ids(["a.jpg", "b.jpg", "b.jpg"])
    ['a', 'b-1', 'b-2']
    """
    stems = [os.path.splitext(name)[0] for name in images]
    endings: dict[str, set[str]] = {}
    for stem, name in zip(stems, images, strict=True):
        endings.setdefault(stem, set()).add(name)
    keys = [n if len(endings[stem]) > 1 else stem for stem, n in zip(stems, images, strict=True)]
    times: dict[str, int] = {}
    for key in keys:
        times[key] = times.get(key, 0) + 1
    nth: dict[str, int] = {}
    ids: list[str] = []
    taken: set[str] = set()
    for row, key in enumerate(keys):
        nth[key] = nth.get(key, 0) + 1
        id = safe_id(key if times[key] == 1 else f"{key}-{nth[key]}")
        if id in taken:  # "b-1.jpg" beside two rows of "b.jpg"
            id = safe_id(f"{key}#{row}")
        taken.add(id)
        ids.append(id)
    assert len(taken) == len(images)
    return ids
