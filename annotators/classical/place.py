"""The expert for place words: the part of the picture that "left", "top", "in the middle" points at.

It looks at no pixel: its mask is most of the truth's neighbourhood and little of its outline, so its score is low and
it serves to break ties between experts that do look. Abstains without a place word.
"""

from collections.abc import Sequence

from annotators.candidate import Candidate, Provenance
from annotators.classical.place_map import place_map
from annotators.classical.view import cut
from annotators.language.noun_phrase import read_phrase
from annotators.masks import encode_mask
from annotators.phrase import Phrase
from annotators.protocols import Image
from annotators.registry import config_hash


class PlaceExpert:
    """Masks of the named part of the picture.

    Args:
        longest: pixels of the longest side of the map that is drawn.
        confidence: factor of the score, in (0, 1]: a place is no outline.
    """

    name = "place"

    def __init__(self, *, longest: int = 160, confidence: float = 0.3) -> None:
        self.longest, self.confidence = longest, confidence
        self.config_hash = config_hash(self.name, {"longest": longest, "confidence": confidence})

    def segment_text(
        self, images: Sequence[Image], phrases: Sequence[Sequence[Phrase]]
    ) -> list[list[Candidate]]:
        return [self._one(*pair) for pair in zip(images, phrases, strict=True)]

    def _one(self, image: Image, phrases: Sequence[Phrase]) -> list[Candidate]:
        size_hw = (int(image.shape[0]), int(image.shape[1]))
        for index, phrase in enumerate(phrases):
            places = read_phrase(phrase.text).places
            if not places:
                continue
            scale = min(1.0, self.longest / max(size_hw))
            small = (max(1, round(size_hw[0] * scale)), max(1, round(size_hw[1] * scale)))
            fit = place_map(places, small)
            mask, stability = cut(fit, size_hw, at=0.5 * float(fit.max()), spread=0.1)
            made_by = Provenance(
                expert=self.name, score_raw=float(fit.max()), config_hash=self.config_hash
            )
            return [
                Candidate(
                    mask=encode_mask(mask),
                    phrase=index,
                    proposal=None,
                    mask_score=self.confidence * (1.0 - float(mask.mean())),
                    stability=stability,
                    made_by=made_by,
                )
            ]
        return []
