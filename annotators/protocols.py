"""The four roles of an expert. An expert implements one or more; all calls are batched over images.

An expert may abstain: it returns an empty list for that image, and that is normal. Images are RGB uint8 (h, w, 3),
EXIF-upright, of mixed sizes in one call; a batch must give what single calls give. Constructors take plain
keyword arguments. Results depend on the arguments alone (seed included), never on call order.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from annotators.candidate import Candidate, Proposal
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
