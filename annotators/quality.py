"""The pipeline's belief in a label, from what the experts say and from the label's shape; no gold, no model.

Named parts in [0, 1], 1 = good, and one weighted mean of them (`WEIGHTS`), so that a reader of a reject can see why.
It is a first sieve; the discriminator learns the rest.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from annotators.candidate import Candidate
from annotators.label import Label, Quality
from annotators.votes import votes_of

Rule = Literal["agreement"]

WEIGHTS: dict[str, float] = {
    "agreement": 0.30,
    "fit": 0.30,
    "support": 0.10,
    "stability": 0.05,
    "confidence": 0.10,
    "area": 0.05,
    "compact": 0.05,
    "border": 0.05,
}
"""Share of each part in the score; they add up to 1."""

SMALL, LARGE = 0.002, 0.6
"""Shares of the image between which a target's area is taken as plausible; outside it falls to 0."""


def judge(
    candidates: Sequence[Candidate],
    label: Label,
    *,
    rule: Rule = "agreement",
    panel_size: int | None = None,
) -> Quality:
    """Judge `label` by the `candidates` it was made from.

    Parts: `agreement`, mean IoU over pairs of experts (0 with a single one: nobody confirms it); `fit`, mean IoU of
    each expert's vote with the label; `support`, share of the panel that did not abstain; `stability` and
    `confidence`, means over the experts; `area`, plausibility of the label's share of the image; `compact`, share of
    the label in its largest piece; `border`, 1 minus the share of the image's border that the label covers.
    An empty label has score 0 and every part 0 but `support`: nothing speaks for it.

    Args:
        candidates: all candidates of the sample, those of experts that were outvoted too.
        label: what fusion made of them.
        rule: the only one.
        panel_size: how many experts were asked for masks; those that answered when None.

    Raises:
        ValueError: unknown rule, masks of another size, or a panel smaller than the experts that answered.
    """
    if rule not in get_args(Rule):
        raise ValueError(f"unknown quality rule: {rule!r}. Known: {', '.join(get_args(Rule))}")
    height, width = label.mask.shape
    votes = votes_of(candidates, (height, width))
    asked = max(1, len(votes)) if panel_size is None else panel_size
    if asked < max(1, len(votes)):
        raise ValueError(
            f"panel of {asked} experts, but {len(votes)} gave candidates; expected at least that many"
        )
    support = len(votes) / asked
    mask = label.mask >= 128
    if not votes or not mask.any():
        parts = {name: 0.0 for name in WEIGHTS} | {"support": support}
        return _quality(parts, 0.0, rule)

    pairs = [mask_iou(a.mask, b.mask) for a, b in combinations(votes, 2)]
    parts = {
        "agreement": float(np.mean(pairs)) if pairs else 0.0,
        "fit": float(np.mean([mask_iou(vote.mask, mask) for vote in votes])),
        "support": support,
        "stability": float(np.mean([vote.stability for vote in votes])),
        "confidence": float(np.mean([vote.score for vote in votes])),
        "area": plausible_area(float(mask.mean())),
        "compact": largest_piece(mask),
        "border": 1.0 - border_share(mask),
    }
    return _quality(parts, sum(WEIGHTS[name] * value for name, value in parts.items()), rule)


def mask_iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Intersection over union of boolean masks of one shape; two empty ones agree (1)."""
    union = int(np.count_nonzero(a | b))
    return int(np.count_nonzero(a & b)) / union if union else 1.0


def plausible_area(share: float) -> float:
    """1 for areas between `SMALL` and `LARGE` of the image, falling linearly to 0 at 0 and at 1.

    >>> plausible_area(0.1), plausible_area(0.001), plausible_area(1.0)
    (1.0, 0.5, 0.0)
    """
    if share < SMALL:
        return share / SMALL
    return 1.0 if share <= LARGE else (1.0 - share) / (1.0 - LARGE)


def largest_piece(mask: NDArray[np.bool_]) -> float:
    """Share of the true pixels that lie in the largest 8-connected piece, in [0, 1]; 0 for an empty mask."""
    import cv2

    if not mask.any():
        return 0.0
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return float(stats[1:, cv2.CC_STAT_AREA].max() / mask.sum())


def border_share(mask: NDArray[np.bool_]) -> float:
    """Share of the image's outermost pixels that are true, in [0, 1]."""
    ring = np.ones(mask.shape, bool)
    ring[1:-1, 1:-1] = False
    return float(mask[ring].mean())


def _quality(parts: dict[str, float], score: float, rule: str) -> Quality:
    unit = tuple((name, min(1.0, max(0.0, value))) for name, value in parts.items())
    return Quality(score=min(1.0, max(0.0, score)), parts=unit, rule=rule)
