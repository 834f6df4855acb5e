"""The expert for size words: of the things that stand out, the one that is largest, smallest, tallest or longest.

"Things" are the pieces of the saliency map above its cut. Abstains without a size word, and when fewer than two things
stand out: a lone thing has no size to compare.
"""

from collections.abc import Sequence

import numpy as np

from annotators.candidate import Candidate, Provenance
from annotators.classical.saliency_map import saliency_map
from annotators.classical.view import cut, pieces, shrink
from annotators.language.noun_phrase import read_phrase
from annotators.masks import encode_mask
from annotators.phrase import Phrase
from annotators.protocols import Image
from annotators.registry import config_hash


class SizeExpert:
    """Masks of the thing with the named size.

    Args:
        longest: pixels of the longest side at which it works.
        factor: the cut is this many times the mean saliency, at most 0.75.
        least: share of the image below which a piece is no thing.
    """

    name = "size"

    def __init__(self, *, longest: int = 240, factor: float = 2.5, least: float = 0.004) -> None:
        self.longest, self.factor, self.least = longest, factor, least
        options = {"longest": longest, "factor": factor, "least": least}
        self.config_hash = config_hash(self.name, options)

    def segment_text(
        self, images: Sequence[Image], phrases: Sequence[Sequence[Phrase]]
    ) -> list[list[Candidate]]:
        return [self._one(*pair) for pair in zip(images, phrases, strict=True)]

    def _one(self, image: Image, phrases: Sequence[Phrase]) -> list[Candidate]:
        for index, phrase in enumerate(phrases):
            sizes = read_phrase(phrase.text).sizes
            if sizes:
                return self._pick(image, index, sizes[0])
        return []

    def _pick(self, image: Image, index: int, size: str) -> list[Candidate]:
        view = shrink(image, longest=self.longest)
        values = saliency_map(view)
        at = min(0.75, self.factor * float(values.mean()))
        if at < 0.02:
            return []
        things = pieces(values >= at, least=max(1, round(self.least * values.size)))
        if len(things) < 2:
            return []
        measures = [measure(size, box, area) for _, box, area in things]
        first, second = sorted(measures, reverse=True)[:2]
        piece = things[measures.index(first)][0]
        mask, stability = cut(
            (values * piece).astype(np.float32), view.size_hw, at=at, spread=0.15 * at
        )
        if not mask.any():
            return []
        made_by = Provenance(expert=self.name, score_raw=first, config_hash=self.config_hash)
        return [
            Candidate(
                mask=encode_mask(mask),
                phrase=index,
                proposal=None,
                mask_score=0.5 * (1.0 - second / first) + 0.1,
                stability=stability,
                made_by=made_by,
            )
        ]


def measure(size: str, box: tuple[int, int, int, int], area: int) -> float:
    """How well a thing with this XYXY box and area fits a size word among others; larger is better, above 0."""
    width, height = box[2] - box[0], box[3] - box[1]
    match size:
        case "small":
            return 1.0 / area
        case "tall":
            return float(height)
        case "short":
            return 1.0 / height
        case "long":
            return float(max(width, height))
        case "wide":
            return float(width)
        case "narrow":
            return 1.0 / width
        case _:
            return float(area)
