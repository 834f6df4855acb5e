"""The expert that hears no word: what stands out in the picture, whatever the phrase says about it.

People mostly ask about what they see first. Abstains where nothing stands out. See `annotators.classical.saliency_map`.
"""

from collections.abc import Sequence

from annotators.candidate import Candidate, Provenance
from annotators.classical.saliency_map import saliency_map
from annotators.classical.view import cut, shrink
from annotators.masks import encode_mask
from annotators.phrase import Phrase
from annotators.protocols import Image
from annotators.registry import config_hash


class SaliencyExpert:
    """Masks of what stands out.

    Args:
        longest: pixels of the longest side at which it works.
        factor: the cut is this many times the mean saliency (Achanta et al. 2009 take 2), at most 0.75.
    """

    name = "saliency"

    def __init__(self, *, longest: int = 240, factor: float = 2.0) -> None:
        self.longest, self.factor = longest, factor
        self.config_hash = config_hash(self.name, {"longest": longest, "factor": factor})

    def segment_text(
        self, images: Sequence[Image], phrases: Sequence[Sequence[Phrase]]
    ) -> list[list[Candidate]]:
        return [self._one(*pair) for pair in zip(images, phrases, strict=True)]

    def _one(self, image: Image, phrases: Sequence[Phrase]) -> list[Candidate]:
        if not phrases:
            return []
        view = shrink(image, longest=self.longest)
        values = saliency_map(view)
        at = min(0.75, self.factor * float(values.mean()))
        inside = values >= at
        if at < 0.02 or not inside.any() or inside.all():
            return []
        mask, stability = cut(values, view.size_hw, at=at, spread=0.15 * at)
        contrast = float(values[inside].mean() - values[~inside].mean())
        made_by = Provenance(expert=self.name, score_raw=contrast, config_hash=self.config_hash)
        return [
            Candidate(
                mask=encode_mask(mask),
                phrase=0,
                proposal=None,
                mask_score=min(1.0, max(0.0, contrast)) * (1.0 - float(mask.mean())),
                stability=stability,
                made_by=made_by,
            )
        ]
