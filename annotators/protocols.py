"""The roles of an expert. An expert implements one or more; all calls are batched over images.

An expert may abstain: it returns an empty list for that image, and that is normal. Images are RGB uint8 (h, w, 3),
EXIF-upright, of mixed sizes in one call; a batch must give what single calls give. Constructors take plain
keyword arguments and load no weights. Results depend on the arguments alone (seed included), never on call order.

An expert that fails on some rows of a batch may answer those rows with the exception it met; raising fails the batch,
which is then asked row by row. Samples of one photograph bring the same pixels several times in one call. An expert
with weights or an endpoint has an `identity` (`annotators.identity`); one that costs calls has `bill` (`Payer`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from annotators.boxes import Box
from annotators.candidate import Candidate, Proposal
from annotators.ledger import Ledger
from annotators.masks import BoolMask
from annotators.phrase import Phrase

Image = NDArray[np.uint8]
"""RGB uint8 (h, w, 3), EXIF-upright."""


@runtime_checkable
class Rewriter(Protocol):
    """Instructions to phrases."""

    name: str
    reads_image: bool

    def rewrite(
        self, instructions: Sequence[Sequence[str]], images: Sequence[Image]
    ) -> list[list[Phrase]]:
        """For each sample's instructions (phrasings of one target) the phrases that name the target.

        `images` is empty unless `reads_image`.
        """
        ...


@runtime_checkable
class Grounder(Protocol):
    """Phrases to boxes."""

    name: str

    def ground(
        self, images: Sequence[Image], phrases: Sequence[Sequence[Phrase]]
    ) -> list[list[Proposal]]: ...


@runtime_checkable
class Segmenter(Protocol):
    """Boxes to masks: at most one candidate per proposal."""

    name: str

    def segment(
        self, images: Sequence[Image], proposals: Sequence[Sequence[Proposal]]
    ) -> list[list[Candidate]]: ...


@runtime_checkable
class TextSegmenter(Protocol):
    """Phrases to masks in one step."""

    name: str

    def segment_text(
        self, images: Sequence[Image], phrases: Sequence[Sequence[Phrase]]
    ) -> list[list[Candidate]]: ...


@runtime_checkable
class Enricher(Protocol):
    """Known targets to instructions that a person might give: the labelled direction of IVM (arXiv 2405.19783, 3.2)."""

    name: str
    reads_image: bool

    def enrich(
        self,
        instructions: Sequence[Sequence[str]],
        boxes: Sequence[Sequence[Box]],
        images: Sequence[Image],
    ) -> list[list[Phrase]]:
        """For each sample's simple instructions and the boxes of its known target, phrases of role "enriched".

        `images` is empty unless `reads_image`; a sample's boxes may be empty.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a verifier thinks of one mask: both in [0, 1], 1 = good.

    `validity`: the mask is what the instruction needs. `exhaustivity`: nothing that it needs is missing.
    """

    validity: float
    exhaustivity: float

    def __post_init__(self) -> None:
        for name in ("validity", "exhaustivity"):
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"verdict's {name} is {value}; expected a number in [0, 1]")


@runtime_checkable
class Verifier(Protocol):
    """Masks to verdicts, as a person would give who sees the image, the instruction and the mask."""

    name: str

    def verify(
        self,
        images: Sequence[Image],
        instructions: Sequence[Sequence[str]],
        masks: Sequence[BoolMask],
    ) -> list[Verdict | None]:
        """A verdict for each mask; None where the verifier abstains."""
        ...


@runtime_checkable
class Payer(Protocol):
    """An expert whose calls cost something: every call is reserved in the build's ledger before it is made."""

    def bill(self, ledger: Ledger) -> None:
        """Charge all later calls to `ledger`."""
        ...
