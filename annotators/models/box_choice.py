"""Which of a detector's boxes become proposals of one phrase: above the threshold, inside the image, not twice.

Best first, ties in the model's own order: the choice depends on nothing else. Non-maximum suppression is greedy and
within the phrase alone; two phrases that name one thing both keep its box.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from annotators.boxes import Box, box_iou, clip_box
from annotators.candidate import Proposal, Provenance
from annotators.identity import Identity

Floats = NDArray[np.floating]


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxRules:
    """Thresholds of a detector.

    `box_threshold` in [0, 1]: a box stays when its score is larger. `nms_iou` in (0, 1]: of two boxes with a larger
    IoU only the better stays; 1 keeps both. `max_boxes` is per phrase.
    """

    box_threshold: float
    nms_iou: float
    max_boxes: int

    def __post_init__(self) -> None:
        for name, low in (("box_threshold", 0.0), ("nms_iou", 0.0)):
            if not low <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected a number in [0, 1]")
        if self.max_boxes < 1:
            raise ValueError(f"max_boxes is {self.max_boxes}; expected at least 1")

    def choose(
        self, boxes: Floats, scores: Floats, size_hw: tuple[int, int]
    ) -> list[tuple[Box, int]]:
        """The boxes that stay, clipped to the image, best first.

        Args:
            boxes: (n, 4) XYXY pixels.
            scores: (n,) in [0, 1]; NaN never passes.
            size_hw: of the image.

        Returns:
            For each the box, and its row in `boxes`.
        """
        rows = np.flatnonzero(scores > self.box_threshold)
        kept: list[tuple[Box, int]] = []
        for row in rows[np.argsort(-scores[rows], kind="stable")]:
            x1, y1, x2, y2 = (float(v) for v in boxes[row])
            box = clip_box((x1, y1, x2, y2), size_hw)
            if box is None or any(box_iou(box, other) > self.nms_iou for other, _ in kept):
                continue
            kept.append((box, int(row)))
            if len(kept) == self.max_boxes:
                break
        return kept


def corners(boxes: Floats) -> Floats:
    """(..., 4) boxes as centre x, centre y, width, height to XYXY, in float64.

    >>> corners(np.array([[0.5, 0.5, 0.2, 0.4]])).round(6).tolist()
    [[0.4, 0.3, 0.6, 0.7]]
    """
    centre, half = boxes[..., :2].astype(np.float64), boxes[..., 2:].astype(np.float64) / 2
    return np.concatenate([centre - half, centre + half], axis=-1)


def sigmoid(logits: Floats) -> Floats:
    """Logits to probabilities, in float64; minus infinity is 0, and no logit overflows."""
    return 0.5 * (1.0 + np.tanh(0.5 * logits.astype(np.float64)))


def to_proposals(
    chosen: Sequence[tuple[Box, int]],
    *,
    scores: Floats,
    raw: Floats,
    phrase: int,
    identity: Identity,
) -> list[Proposal]:
    """Proposals of phrase number `phrase`; `scores` and `raw` (n,) are of all the boxes that were chosen from."""
    return [
        Proposal(
            box=box,
            phrase=phrase,
            score=min(1.0, max(0.0, float(scores[row]))),
            made_by=made_by(identity, float(raw[row])),
        )
        for box, row in chosen
    ]


def made_by(identity: Identity, score_raw: float) -> Provenance:
    """Provenance of an answer by the expert of `identity`."""
    return Provenance(
        expert=identity.expert,
        model=identity.model,
        revision=identity.revision,
        prompt_version=identity.prompt_version,
        score_raw=score_raw,
        config_hash=identity.config_hash,
    )
