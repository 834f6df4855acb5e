"""The records that travel: a Sample is born with an image and instructions, and each stage fills one more field.

Frozen; a stage returns a new sample (`Sample.fill`). Numpy only: importing this loads no torch, ray or datasets.
Masks, boxes and sizes are in the frame of the stored image, EXIF-upright, height before width.
"""

import re
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from annotators.boxes import Box, check_box
from annotators.candidate import Candidate, Proposal, Provenance
from annotators.label import Label, Quality
from annotators.masks import Mask
from annotators.phrase import Phrase

__all__ = [
    "LINE", "Candidate", "Label", "Mask", "Phrase", "Proposal", "Provenance", "Quality",
    "Reject", "Sample", "SourceRef", "safe_id",
]  # fmt: skip

LINE: tuple[str, ...] = ("phrases", "proposals", "candidates", "label", "quality")
"""The fields that stages fill, in order; a stage may read only what stands to the left of what it fills."""

ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,90}")
"""What a sample id looks like: with the longest suffix, `.mask.png`, it fills the 100 bytes of a tar name."""

GoldRole = Literal["train", "audit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRef:
    """Where a sample came from. `key` names it inside its dataset; `image_sha256` is of the bytes as received.

    `transcoded` is empty when the stored image bytes are those received, else says what was done to them.
    """

    dataset: str
    split: str
    key: str
    licence: str
    url: str
    image_sha256: str
    transcoded: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One image with the phrasings of one instruction, and what the line has found out so far.

    `id` has no dots or slashes: it is the WebDataset key. `image` holds JPEG or PNG bytes that are upright as they
    stand. `gold` is a human's mask; its role says whether a trainer may learn from it (`train`) or whether it was
    set aside to measure machine labels (`audit`). `style` is the source's own kind of instruction ("" unknown).
    `faults` are "expert: error" lines of experts that failed on this sample and so lost their vote. `extra` holds
    what the source wants to keep, as JSON-able values.
    """

    id: str
    image: bytes
    size_hw: tuple[int, int]
    instructions: tuple[str, ...]
    source: SourceRef
    style: str = ""
    gold: Mask | None = None
    gold_role: GoldRole = "train"
    phrases: tuple[Phrase, ...] | None = None
    proposals: tuple[Proposal, ...] | None = None
    candidates: tuple[Candidate, ...] | None = None
    label: Label | None = None
    quality: Quality | None = None
    faults: tuple[str, ...] = ()
    extra: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        if not ID.fullmatch(self.id):
            raise ValueError(f"sample id {self.id!r}; expected {ID.pattern} (use records.safe_id)")
        if self.gold_role not in get_args(GoldRole):
            raise ValueError(
                f"sample {self.id!r}: gold role {self.gold_role!r}; expected one of {get_args(GoldRole)}"
            )
        if min(self.size_hw) < 1:
            raise ValueError(f"sample {self.id!r} has size {self.size_hw} (h, w); expected pixels")
        if not self.instructions or any(not text.strip() for text in self.instructions):
            raise ValueError(
                f"sample {self.id!r} has an empty instruction; a source rejects it (instruction-empty)"
            )
        if self.gold is not None and self.gold.size_hw != self.size_hw:
            raise ValueError(
                f"sample {self.id!r}: gold of {self.gold.size_hw} on an image of {self.size_hw} (h, w)"
            )
        if self.label is not None and self.label.mask.shape != self.size_hw:
            raise ValueError(
                f"sample {self.id!r}: label of {self.label.mask.shape} on an image of {self.size_hw}"
            )
        for candidate in self.candidates or ():
            if candidate.mask.size_hw != self.size_hw:
                raise ValueError(
                    f"sample {self.id!r}: candidate of {candidate.mask.size_hw} by "
                    f"{candidate.made_by.expert!r} on an image of {self.size_hw} (h, w)"
                )

    @property
    def sought(self) -> tuple[Phrase, ...]:
        """The phrases that experts are asked to find: none when their writer says that the target is not there."""
        phrases = self.phrases or ()
        return () if any(phrase.role == "absent" for phrase in phrases) else phrases

    @property
    def boxes(self) -> tuple[Box, ...]:
        """Boxes of the target that a human drew and the source brought as `extra` "boxes": XYXY pixels in the image.

        Raises:
            ValueError: one of them is no box inside the image.
        """
        given = dict(self.extra).get("boxes", ())
        return tuple(check_box(tuple(map(float, box)), self.size_hw) for box in given)  # type: ignore[arg-type]

    @property
    def wordings(self) -> tuple[str, ...]:
        """All that a person might say to mean this target: the instructions, then what enrichers made of them."""
        enriched = [p.text for p in self.phrases or () if p.role == "enriched"]
        return tuple(dict.fromkeys((*self.instructions, *enriched)))

    def fill(self, field: str, value: Any) -> "Sample":
        """A copy with `field` of the line filled; a field is filled once."""
        assert field in LINE, field
        assert getattr(self, field) is None, f"{field} of {self.id} is filled already"
        return replace(self, **{field: value})

    def add(self, field: str, values: tuple[Any, ...]) -> "Sample":
        """A copy with `values` after those that a filled field of the line holds; these stay as they are."""
        assert field in LINE, field
        assert isinstance(getattr(self, field), tuple), f"{field} of {self.id} is no list"
        return replace(self, **{field: getattr(self, field) + values})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """A sample that the line turned away: which stage, a reason slug that can be counted, and the detail to read."""

    sample_id: str
    stage: str
    reason: str
    detail: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", self.reason):
            raise ValueError(
                f"reject reason {self.reason!r}; expected a slug such as 'image-truncated'"
            )


def safe_id(text: str) -> str:
    """A valid sample id from any text: lower case, everything else to dashes; a hash is added when that lost anything.

    Distinct texts give distinct ids up to a collision of 40-bit hashes; sources still check for duplicates.

    >>> safe_id("000000001732-0")
    '000000001732-0'
    >>> safe_id("a.b/c") == safe_id("a-b-c")
    False
    """
    import hashlib

    slug = re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-_")[:80]
    if slug and slug == text:
        return slug
    # surrogatepass: file names that are not UTF-8 reach Python as lone surrogates
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    return f"{slug}-{digest}" if slug else digest
