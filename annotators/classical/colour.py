"""The expert for colour words: pixels whose colour has the name that the phrase gives its target.

Abstains without a colour word and where nothing in the picture has the colour. A colour of a part ("the man in the red
shirt") is used when the target itself has none, with half the confidence: it finds the shirt.
"""

from collections.abc import Sequence

import numpy as np

from annotators.candidate import Candidate, Provenance
from annotators.classical.colour_map import colour_map
from annotators.classical.view import Map, cut, pieces, shrink, smooth
from annotators.language.noun_phrase import PhraseParts, read_phrase
from annotators.masks import BoolMask, encode_mask
from annotators.phrase import Phrase
from annotators.protocols import Image
from annotators.registry import config_hash


class ColourExpert:
    """Masks of what has the named colour.

    Args:
        longest: pixels of the longest side at which it works.
        least: share of the image below which a piece is dropped.
        company: a piece stays when it has at least this share of the largest piece's area.
    """

    name = "colour"

    def __init__(self, *, longest: int = 240, least: float = 0.0015, company: float = 0.25) -> None:
        self.longest, self.least, self.company = longest, least, company
        options = {"longest": longest, "least": least, "company": company}
        self.config_hash = config_hash(self.name, options)

    def segment_text(
        self, images: Sequence[Image], phrases: Sequence[Sequence[Phrase]]
    ) -> list[list[Candidate]]:
        return [self._one(*pair) for pair in zip(images, phrases, strict=True)]

    def _one(self, image: Image, phrases: Sequence[Phrase]) -> list[Candidate]:
        for index, phrase in enumerate(phrases):
            parts = read_phrase(phrase.text)
            if parts.colours or parts.part_colours:
                return self._mark(image, index, parts)
        return []

    def _mark(self, image: Image, index: int, parts: PhraseParts) -> list[Candidate]:
        view = shrink(image, longest=self.longest)
        fit = smooth(colour_map(view.lab, parts.colours or parts.part_colours), 1.0)
        kept = self._largest(fit >= 0.5)
        if not kept.any():
            return []
        mask, stability = cut(_only(fit, kept), view.size_hw, at=0.5, spread=0.15)
        if not mask.any():
            return []
        fitness = float(fit[kept].mean())
        score = fitness * (1.0 if parts.colours else 0.5) * (1.0 - float(mask.mean()))
        made_by = Provenance(expert=self.name, score_raw=fitness, config_hash=self.config_hash)
        return [
            Candidate(
                mask=encode_mask(mask),
                phrase=index,
                proposal=None,
                mask_score=score,
                stability=stability,
                made_by=made_by,
            )
        ]

    def _largest(self, mask: BoolMask) -> BoolMask:
        kept = np.zeros(mask.shape, bool)
        largest = 0
        for piece, _, area in pieces(mask, least=max(1, round(self.least * mask.size))):
            largest = max(largest, area)
            if area >= self.company * largest:
                kept |= piece
        return kept


def _only(fit: Map, kept: BoolMask) -> Map:
    """`fit` inside the kept pieces and a rim of two pixels around them, 0 elsewhere."""
    import cv2

    rim = cv2.dilate(kept.astype(np.uint8), np.ones((5, 5), np.uint8))
    return (fit * rim).astype(np.float32)
