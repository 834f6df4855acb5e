"""A .jsonl file: one described image a line.

    {"image": "mug.jpg", "instructions": ["the red mug", "Where is the red mug?"], "polygons": [[1, 1, 9, 1, 9, 9]]}

Keys: `image` (path, relative to the file; absolute ones are taken too) and `instruction` or `instructions`; optional
`id style licence url split extra`, and gold as one of `mask` (path of a PNG), `rle`, `polygons`, `box` (XYXY pixels).
Every line that is not blank is one input.
"""

from pathlib import Path

from pipeline.codec import ImageFormat
from pipeline.intake.admission import FileConfig, admit_sample
from pipeline.intake.entry import (
    entry_extra,
    entry_gold,
    entry_instructions,
    local_path,
    parse_entry,
)
from pipeline.intake.image_files import duplicate, first_of_each, read_image
from pipeline.intake.refusal import Refused
from pipeline.records import Reject, Sample, safe_id


class Config(FileConfig):
    """`path` is the .jsonl file."""


def make(config: Config, image_format: ImageFormat = "jpg") -> "Jsonl":
    """List the lines.

    Raises:
        ValueError: the file is missing or holds no line.
    """
    if not config.path.is_file():
        raise ValueError(f"{config.path} does not exist or is no file; expected a .jsonl file")
    lines = [
        (number, line)
        for number, line in enumerate(config.path.read_bytes().split(b"\n"), start=1)
        if line.strip()
    ]
    if not lines:
        raise ValueError(f"{config.path} holds no line; expected one JSON object a line")
    return Jsonl(config, image_format, lines)


class Jsonl:
    """The lines of the file, in order."""

    fills = frozenset[str]()

    def __init__(
        self, config: Config, image_format: ImageFormat, lines: list[tuple[int, bytes]]
    ) -> None:
        self._config = config
        self._image_format: ImageFormat = image_format
        self._dataset = config.dataset or config.path.stem
        self._lines = lines
        self._ids = [self._id(number, line) for number, line in lines]
        self._first = first_of_each(self._ids)

    def __len__(self) -> int:
        return len(self._lines)

    def load(self, index: int) -> Sample | Reject:
        """The sample of a line, or why there is none."""
        name, first = self._ids[index], self._first[index]
        if first != index:
            return duplicate(name, index, first)
        number, line = self._lines[index]
        try:
            return self._sample(name, line)
        except Refused as error:
            return Refused(error.reason, f"line {number}: {error.detail}").reject(name)

    def _sample(self, name: str, line: bytes) -> Sample:
        fields = parse_entry(line)
        folder = self._config.path.parent
        if "image" not in fields:
            raise Refused("image-missing", "no image is given")
        return admit_sample(
            read_image(local_path(fields["image"], folder)),
            id=name,
            image_format=self._image_format,
            instructions=entry_instructions(fields),
            config=self._config,
            key=fields["image"],
            dataset=self._dataset,
            split=fields.get("split", ""),
            licence=fields.get("licence", ""),
            url=fields.get("url", ""),
            style=fields.get("style", ""),
            gold=lambda size_hw: entry_gold(fields, folder, size_hw),
            extra=entry_extra(fields),
        )

    def _id(self, number: int, line: bytes) -> str:
        """The line's own id, or one from its number; a line that cannot be read has a number at least."""
        try:
            given = parse_entry(line).get("id", "")
        except Refused:
            given = ""
        return safe_id(given or f"{Path(self._dataset).name}-{number:06d}")
