"""A finished dataset of ours as inputs of the next build: what its experts said is kept, so nobody is asked again.

Samples are born with the line up to `keep`; label and quality are made anew, e.g. with what `maskmix calibrate` learnt.
Gold, style, extra and where an image came from go on as they are. Inputs that the earlier build turned away are not
there. Shards are verified against their receipts, each once in a process, and read by offset.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from annotators.choice import INCUMBENT, incumbent
from annotators.votes import votes_of
from pipeline.codec import ImageFormat, decode_sample
from pipeline.manifest import Manifest, PanelEntry, Receipt, read_manifest, read_receipts
from pipeline.records import LINE, Reject, Sample
from pipeline.shards import read_sample

Keep = Literal["candidates", "proposals", "phrases"]
MAKERS = {
    "phrases": ("rewrite", "enrich"),
    "proposals": ("ground",),
    "candidates": ("segment", "join"),
}
"""Field of the line -> stages of a recipe whose experts fill it."""


class Config(BaseModel):
    """`path` is the dataset folder; `keep` the last field of the line that is not made again.

    `incumbent` puts the label that a sample had before its candidates, as one more (annotators.choice.incumbent).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path
    keep: Keep = "candidates"
    incumbent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a sample lies: its shard's receipt, and the byte of its first header."""

    id: str
    receipt: Receipt
    offset: int


def make(config: Config, image_format: ImageFormat = "jpg") -> "Shards":
    """List the samples from the receipts.

    Raises:
        ValueError: the dataset is unfinished, empty, or stores another image format.
    """
    if config.incumbent and config.keep != "candidates":
        raise ValueError(
            f"source.incumbent with keep {config.keep!r}; the old label is one of the candidates: keep: candidates"
        )
    manifest = read_manifest(config.path)
    stored = manifest.recipe["image_format"]
    if stored != image_format:
        raise ValueError(
            f"{config.path} stores {stored} images and this recipe {image_format}; set image_format: {stored}"
        )
    places = [
        Place(id=name, receipt=receipt, offset=offset)
        for receipt in read_receipts(config.path)
        for name, offset in sorted(receipt.offsets.items(), key=lambda item: item[1])
    ]
    if not places:
        raise ValueError(f"{config.path} holds no sample; every input was turned away")
    return Shards(config, places, manifest)


class Shards:
    """The samples of the dataset, in its order."""

    def __init__(self, config: Config, places: Sequence[Place], manifest: Manifest) -> None:
        self.fills = frozenset(LINE[: LINE.index(config.keep) + 1])
        self._config = config
        self._places = places
        self._manifest = manifest
        self._verified: set[str] = set()

    def __len__(self) -> int:
        return len(self._places)

    def load(self, index: int) -> Sample | Reject:
        """The sample as it was after the stage that filled `keep`.

        Faults of experts stay with candidates, which lack their votes; when experts are asked again they start anew.

        Raises:
            ValueError: its shard is missing or damaged.
        """
        stored = self._stored(index)
        dropped = {field: None for field in LINE if field not in self.fills}
        faults = stored.faults if self._config.keep == "candidates" else ()
        if self._config.incumbent:
            assert stored.label is not None
            others = [c for c in stored.candidates or () if c.made_by.expert != INCUMBENT]
            first = incumbent(stored.label, stored.quality)
            stored = replace(stored, candidates=(*first, *others))
        return replace(stored, **dropped, faults=faults)

    def panel(self) -> list[PanelEntry]:
        """Experts of the dataset, and those it inherited, whose work is kept."""
        kept = {stage for field in self.fills for stage in MAKERS[field]}
        return [
            entry
            for entry in (*self._manifest.inherited, *self._manifest.panel)
            if entry.stage in kept
        ]

    def panel_size(self) -> int | None:
        """How many experts could have voted on each sample; None when the dataset does not tell.

        Quality says which share of them did (its part "support"): one sample with a vote and a score is enough.
        """
        for index in range(len(self)):
            stored = self._stored(index)
            support = dict(stored.quality.parts).get("support", 0.0) if stored.quality else 0.0
            if support > 0:
                votes = len(votes_of(stored.candidates or (), stored.size_hw))
                return round(votes / support) + self._config.incumbent
        return None

    def _stored(self, index: int) -> Sample:
        place = self._places[index]
        shard = self._config.path / place.receipt.shard
        if not shard.exists():
            raise ValueError(f"shard {shard} is missing; run `maskmix verify {self._config.path}`")
        known = place.receipt.shard in self._verified
        key, members = read_sample(
            shard, place.offset, sha256=None if known else place.receipt.sha256
        )
        self._verified.add(place.receipt.shard)
        if key != place.id:
            raise ValueError(f"shard {shard} holds {key!r} where its receipt says {place.id!r}")
        return decode_sample(key, members)
