"""Tables: parquet files, datasets of the `datasets` library, and datasets of the Hugging Face Hub, by column.

`columns` says which column holds what; every row is one input. An image is a cell of bytes, of `{bytes, path}` or a
path; a mask is the same of a PNG, or COCO RLE, or polygons. Rows are loaded one by one: no table is held in memory.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from annotators.masks import Mask
from annotators.registry import unknown
from pipeline.codec import ImageFormat
from pipeline.config import Strict
from pipeline.intake.admission import GoldForm, IntakeConfig, admit_sample
from pipeline.intake.entry import local_path
from pipeline.intake.gold_masks import (
    mask_from_file,
    mask_from_png,
    mask_from_polygons,
    mask_from_rle,
)
from pipeline.intake.human_boxes import BoxForm, human_boxes
from pipeline.intake.image_files import duplicate, first_of_each, read_image
from pipeline.intake.refusal import Refused
from pipeline.intake.table_rows import Rows, open_hub, open_local
from pipeline.records import Reject, Sample, safe_id


class Columns(Strict):
    """Which column holds what; empty: none does."""

    image: str = "image"
    instruction: str = "instruction"
    """A text, or a list of phrasings."""
    id: str = ""
    """Empty: rows are named by their numbers."""
    mask: str = ""
    boxes: str = ""
    style: str = ""
    licence: str = ""
    url: str = ""


class Config(IntakeConfig):
    """Either `path`, or `hub` with `revision`. `split` is that of the dataset, and what samples say of theirs."""

    path: Path | None = None
    """A .parquet file, a folder of them, or a folder written by `save_to_disk`."""
    files: str = "**/*.parquet"
    """Which files of a folder are read, as a glob, e.g. "data/train-*.parquet"."""
    hub: str = ""
    """The id of a dataset on the Hugging Face Hub."""
    subset: str = ""
    """The name of one of its configurations."""
    revision: str = ""
    """Its commit or tag; must be given, since a branch moves and a recipe may not."""
    columns: Columns = Field(default_factory=Columns)
    box_form: BoxForm = "xyxy"
    boxes_normalised: bool = False
    """Boxes are shares of width and height, not pixels."""
    gold: GoldForm = "mask"
    """box: `columns.boxes` instead of gold. Where there is no mask column boxes are taken in any case."""


def make(config: Config, image_format: ImageFormat = "jpg") -> "Table":
    """Open the table and check the columns.

    Raises:
        ValueError: nothing to read, not exactly one of path and hub, or a column is not there.
    """
    if (config.path is None) == (not config.hub):
        raise ValueError("table: give either source.path or source.hub")
    if config.path is not None:
        return Table(
            config, image_format, open_local(config.path, files=config.files, split=config.split)
        )
    if not config.revision:
        raise ValueError(f"table: give source.revision, the commit of {config.hub} to read")
    rows = open_hub(config.hub, subset=config.subset, revision=config.revision, split=config.split)
    return Table(config, image_format, rows)


class Table:
    """The rows, in order."""

    fills = frozenset[str]()

    def __init__(self, config: Config, image_format: ImageFormat, rows: Rows) -> None:
        columns = config.columns
        wanted = {name: value for name, value in columns if value}
        if missing := {"image", "instruction"} - wanted.keys():
            raise ValueError(f"table: columns.{missing.pop()} is empty; name a column")
        if config.gold == "box" and not columns.boxes:
            raise ValueError("table: gold: box needs columns.boxes")
        for what, name in wanted.items():
            if name not in rows.names:
                raise ValueError(f"table columns.{what}: {unknown('column', name, rows.names)}")
        if not len(rows):
            raise ValueError("the table holds no row")
        self._config = config
        self._image_format: ImageFormat = image_format
        self._rows = rows
        self._dataset = config.dataset or config.hub or (config.path.stem if config.path else "")
        self._has_boxes = bool(columns.boxes) and (config.gold == "box" or not columns.mask)
        unused = columns.mask if self._has_boxes else columns.boxes
        self._wanted = sorted({name for name in wanted.values() if name != unused})
        given = rows.column(columns.id) if columns.id else [None] * len(rows)
        self._ids = [self._id(index, value) for index, value in enumerate(given)]
        self._first = first_of_each(self._ids)

    def __len__(self) -> int:
        return len(self._ids)

    def load(self, index: int) -> Sample | Reject:
        """The sample of a row, or why there is none."""
        name, first = self._ids[index], self._first[index]
        if first != index:
            return duplicate(name, index, first)
        try:
            return self._sample(index, name, self._rows.row(index, self._wanted))
        except Refused as error:
            return Refused(error.reason, f"row {index}: {error.detail}").reject(name)

    def _sample(self, index: int, name: str, row: Mapping[str, Any]) -> Sample:
        columns, config = self._config.columns, self._config
        said, image = row[columns.instruction], row[columns.image]
        mask = row.get(columns.mask) if columns.mask else None
        boxes = row.get(columns.boxes) if self._has_boxes else None

        def text(column: str) -> str:
            value = row[column] if column else None
            return "" if value is None else str(value)

        return admit_sample(
            self._bytes(image, "image"),
            id=name,
            image_format=self._image_format,
            instructions=said if isinstance(said, list) else [] if said is None else [said],
            config=config,
            key=str(image["path"]) if isinstance(image, dict) and image.get("path") else str(index),
            dataset=self._dataset,
            style=text(columns.style),
            licence=text(columns.licence),
            url=text(columns.url),
            gold=lambda hw: None if mask is None or self._has_boxes else self._mask(mask, hw),
            boxes=lambda hw: (
                None
                if boxes is None
                else human_boxes(
                    boxes, hw, form=config.box_form, normalised=config.boxes_normalised
                )
            ),
        )

    def _bytes(self, cell: Any, what: str) -> bytes:
        if isinstance(cell, dict) and isinstance(cell.get("bytes"), bytes):
            return cell["bytes"]
        if isinstance(cell, bytes):
            return cell
        path = cell.get("path") if isinstance(cell, dict) else cell
        if path is None:
            raise Refused(f"{what}-missing", "the cell is empty")
        if not isinstance(path, str):
            raise Refused(f"{what}-format", f"the cell holds {type(cell).__name__}")
        return read_image(self._path(path))

    def _path(self, text: str) -> Path:
        """A path in a cell: the user's word in a table of theirs, held to the download folder in a foreign one."""
        path = local_path(text, self._rows.folder)
        if self._config.hub and not path.resolve().is_relative_to(self._rows.folder.resolve()):
            raise Refused("image-outside", f"{text[:200]!r} is no file of the dataset")
        return path

    def _mask(self, cell: Any, size_hw: tuple[int, int]) -> Mask:
        if isinstance(cell, str) and cell.lstrip().startswith("{"):
            try:
                cell = json.loads(cell)
            except (ValueError, RecursionError) as error:
                raise Refused("mask-damaged", f"{cell[:80]}: {error}") from error
        if isinstance(cell, dict) and "counts" in cell:
            counts = cell["counts"]
            is_text = isinstance(counts, bytes)
            return mask_from_rle(
                {**cell, "counts": counts.decode("latin-1") if is_text else counts}, size_hw
            )
        if isinstance(cell, list):
            return mask_from_polygons(cell, size_hw)
        if isinstance(cell, str):
            return mask_from_file(self._path(cell), size_hw)
        return mask_from_png(self._bytes(cell, "mask"), size_hw, "the cell")

    def _id(self, index: int, value: Any) -> str:
        return safe_id(f"{self._dataset}-{f'{index:07d}' if value is None else value}")
