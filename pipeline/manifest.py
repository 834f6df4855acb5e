"""Receipts and the manifest: what was committed, and the proof that nothing was lost.

A receipt is written after its shard: its existence is the commit of one unit. The manifest is written last: its
existence says the build is whole. Both are plain JSON; data_cards/FORMAT.md names every field.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.shards import write_atomic

MANIFEST = "manifest.json"
Count = Annotated[int, Field(ge=0)]
SHARD = r"^(shards/[a-z][a-z0-9_]*-[0-9]{6,}\.tar)?$"
"""What a receipt may name: nothing outside the dataset folder."""
M = TypeVar("M", bound=BaseModel)


class Receipt(BaseModel):
    """The commit of one unit. `inputs == committed + rejected + quarantined` always holds."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal[1] = 1
    unit: Count
    shard: str = Field(pattern=SHARD)
    """Path of the shard under the dataset folder; empty when every input was turned away."""
    sha256: str
    size: Count
    recipe_hash: str
    inputs: Count
    committed: Count
    rejected: dict[str, Count]
    """Count by "stage/reason"."""
    quarantined: Count
    gold: Count
    """Committed samples that carry gold with role "train"."""
    licences: dict[str, int]
    """Committed samples by licence."""
    faults: dict[str, int]
    """Samples on which an expert failed and lost its vote, by expert."""
    offsets: dict[str, int]
    """Byte offset of each sample's first header in the shard, by id."""
    versions: dict[str, str]

    def check(self) -> None:
        """Conservation, law 4.

        Raises:
            ValueError: the counts do not add up.
        """
        total = self.committed + sum(self.rejected.values()) + self.quarantined
        if total != self.inputs:
            raise ValueError(
                f"unit {self.unit}: {self.inputs} inputs but {self.committed} committed + "
                f"{sum(self.rejected.values())} rejected + {self.quarantined} quarantined; the receipt is wrong"
            )
        if len(self.offsets) != self.committed or bool(self.shard) != bool(self.committed):
            raise ValueError(
                f"unit {self.unit}: {self.committed} committed but {len(self.offsets)} offsets in shard "
                f"{self.shard!r}; the receipt is wrong"
            )


class Totals(BaseModel):
    """Sums over all receipts."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    inputs: int
    committed: int
    rejected: dict[str, int]
    quarantined: int
    gold: int
    licences: dict[str, int]
    faults: dict[str, int]


class PanelEntry(BaseModel):
    """One expert of a build: its place in the recipe, and the identity that decides its answers."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    stage: str
    position: Count
    """Its number in the stage's list, from 0."""
    expert: str
    roles: list[str]
    """What it can do, by names of `annotators.registry.ROLES`; where it sits decides which of it is asked."""
    model: str
    revision: str
    prompt_version: str
    licence: str
    """Of the weights: as their card says, "unknown" when it does not; empty without weights."""
    config_hash: str


class Manifest(BaseModel):
    """A whole dataset: the resolved recipe, the panel that it named, its shards in order, and the totals."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal[2] = 2
    name: str
    split: str
    recipe: dict[str, Any]
    recipe_hash: str
    panel: list[PanelEntry]
    """Stage by stage in the order of the line, positions in order."""
    inherited: list[PanelEntry] = []
    """Whoever made what the samples were born with: the panels of the datasets that the source read."""
    shards: list[str]
    units: int
    totals: Totals
    versions: dict[str, str]


def shard_name(split: str, unit: int) -> str:
    """`shards/train-000042.tar`."""
    return f"shards/{split}-{unit:06d}.tar"


def receipt_path(root: Path, split: str, unit: int) -> Path:
    """`receipts/train-000042.json` under the dataset folder."""
    return root / "receipts" / f"{split}-{unit:06d}.json"


def write_json(path: Path, model: BaseModel) -> None:
    """Write a model atomically as sorted, indented JSON with a final newline."""
    text = json.dumps(
        model.model_dump(), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False
    )
    write_atomic(path, text.encode() + b"\n")


def read_receipts(root: Path) -> Iterator[Receipt]:
    """All receipts of a dataset folder, in unit order, each checked for conservation.

    Raises:
        ValueError: a receipt is unreadable or does not add up; names the file.
    """
    # by length first: from unit 1,000,000 on, names have a digit more
    for path in sorted((root / "receipts").glob("*.json"), key=lambda p: (len(p.name), p.name)):
        receipt = _read(path, Receipt)
        receipt.check()
        yield receipt


def read_manifest(root: Path) -> Manifest:
    """The manifest of a finished dataset.

    Raises:
        ValueError: there is none, or it is unreadable; says what to do.
    """
    path = root / MANIFEST
    if not path.exists():
        found = "an unfinished build; run `maskmix build` again with the same recipe" if (root / "receipts").is_dir() \
            else "no maskmix dataset"  # fmt: skip
        raise ValueError(f"{root} holds no {MANIFEST}: {found}")
    return _read(path, Manifest)


def total(receipts: list[Receipt]) -> Totals:
    """Sum the counts of all receipts."""
    return Totals(
        inputs=sum(r.inputs for r in receipts),
        committed=sum(r.committed for r in receipts),
        rejected=_merge(r.rejected for r in receipts),
        quarantined=sum(r.quarantined for r in receipts),
        gold=sum(r.gold for r in receipts),
        licences=_merge(r.licences for r in receipts),
        faults=_merge(r.faults for r in receipts),
    )


def _merge(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    merged: Counter[str] = Counter()
    for each in counts:
        merged.update(each)
    return dict(sorted(merged.items()))


def _read(path: Path, model: type[M]) -> M:
    try:
        return model.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise ValueError(f"{path} is not a readable {model.__name__.lower()}: {error}") from error
