"""The expert that chooses among regions: boxes for segmenters, and masks of its own.

It joins what the single-cue experts know: a region is scored by colour, saliency, place, relation and size
(`annotators.classical.region_choice`). As a grounder it gives the boxes of its choice, as a text segmenter their masks.
"""

from collections.abc import Sequence

import numpy as np

from annotators.boxes import clip_box
from annotators.candidate import Candidate, Proposal, Provenance
from annotators.classical.region_choice import choose
from annotators.classical.region_pool import Layers, Pool
from annotators.classical.view import View, cut, shrink, smooth
from annotators.language.noun_phrase import read_phrase
from annotators.masks import BoolMask, encode_mask
from annotators.phrase import Phrase
from annotators.protocols import Image
from annotators.registry import config_hash


class RegionsExpert:
    """Boxes and masks of the regions that fit a phrase best. Abstains where no region fits at all.

    Args:
        longest: pixels of the longest side at which it works.
        scales: scales of the graph segmentations, in units of L*a*b* difference times pixels.
        margin: share of a box's sides added around it, so that a segmenter sees the outline from outside.
    """

    name = "regions"

    def __init__(
        self,
        *,
        longest: int = 240,
        scales: Sequence[float] = (60.0, 300.0),
        margin: float = 0.04,
    ) -> None:
        self.longest, self.margin = longest, margin
        self._layers = Layers(scales=scales)
        options = {"longest": longest, "scales": list(scales), "margin": margin}
        self.config_hash = config_hash(self.name, options)

    def ground(
        self, images: Sequence[Image], phrases: Sequence[Sequence[Phrase]]
    ) -> list[list[Proposal]]:
        return [self._boxes(*pair) for pair in zip(images, phrases, strict=True)]

    def segment_text(
        self, images: Sequence[Image], phrases: Sequence[Sequence[Phrase]]
    ) -> list[list[Candidate]]:
        return [self._masks(*pair) for pair in zip(images, phrases, strict=True)]

    def _boxes(self, image: Image, phrases: Sequence[Phrase]) -> list[Proposal]:
        found: list[Proposal] = []
        view, pool, chosen = self._choose(image, phrases)
        for index, score in chosen:
            height, width = view.lab.shape[:2]
            scale_x, scale_y = view.size_hw[1] / width, view.size_hw[0] / height
            x1, y1, x2, y2 = pool.box[index]
            grow_x, grow_y = self.margin * (x2 - x1), self.margin * (y2 - y1)
            box = clip_box(
                (
                    float((x1 - grow_x) * scale_x),
                    float((y1 - grow_y) * scale_y),
                    float((x2 + grow_x) * scale_x),
                    float((y2 + grow_y) * scale_y),
                ),
                view.size_hw,
            )
            if box is not None:
                made_by = self._made_by(score)
                found.append(Proposal(box=box, phrase=0, score=min(1.0, score), made_by=made_by))
        return found

    def _masks(self, image: Image, phrases: Sequence[Phrase]) -> list[Candidate]:
        view, pool, chosen = self._choose(image, phrases)
        if not chosen:
            return []
        region = np.zeros(view.lab.shape[:2], bool)
        for index, _ in chosen:
            region |= _solid(pool.mask(index))
        soft = smooth(region.astype(np.float32), 1.0)
        mask, stability = cut(soft, view.size_hw, at=0.5, spread=0.2)
        if not mask.any():
            return []
        score = chosen[0][1]
        return [
            Candidate(
                mask=encode_mask(mask),
                phrase=0,
                proposal=None,
                mask_score=min(1.0, score),
                stability=stability,
                made_by=self._made_by(score),
            )
        ]

    def _choose(
        self, image: Image, phrases: Sequence[Phrase]
    ) -> tuple[View, Pool, list[tuple[int, float]]]:
        view = shrink(image, longest=self.longest)
        layer = self._layers.of(view)
        pool, chosen = choose(layer, read_phrase(phrases[0].text if phrases else ""))
        return view, pool, chosen if phrases else []

    def _made_by(self, score: float) -> Provenance:
        return Provenance(expert=self.name, score_raw=float(score), config_hash=self.config_hash)


def _solid(mask: BoolMask) -> BoolMask:
    """The region closed over gaps of a few pixels and without holes."""
    import cv2
    from scipy.ndimage import binary_fill_holes

    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    closed = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, kernel) > 0
    return np.asarray(binary_fill_holes(closed), bool)
