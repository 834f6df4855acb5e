"""Which regions a phrase means: a score per region from colour, saliency, place, relation and size, then the best ones.

Every cue is a factor in [0, 1] that a region's own numbers decide; size words and "-most" places then compare the
regions that are left. Nothing is learnt, and nouns are not understood.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from annotators.boxes import box_iou
from annotators.classical.place_map import place_fit
from annotators.classical.region_pool import Layer, Pool, make_pool
from annotators.language.noun_lore import MATERIAL_COLOURS, TYPICAL_COLOURS, outline_fit
from annotators.language.noun_phrase import PhraseParts, read_phrase

Floats = NDArray[np.float64]

SMALLEST, LARGEST = 0.002, 0.35
"""Shares of the view between which a region is taken for a thing."""
RIVAL = 0.5
"""Share of the best score from which a region takes part in comparisons of size and place."""
LEAST = 0.03
"""Score under which a region does not fit at all."""
OVERLAP = 0.4
"""IoU of boxes from which two regions are the same thing."""

COMPARISONS: dict[str, tuple[str, float]] = {
    "leftmost": ("x", -1.0), "rightmost": ("x", 1.0), "topmost": ("y", -1.0), "bottommost": ("y", 1.0),
    "nearest": ("y", 1.0), "farthest": ("y", -1.0),
}  # fmt: skip
"""Place that chooses one of several -> axis and direction."""


def choose(layer: Layer, parts: PhraseParts) -> tuple[Pool, list[tuple[int, float]]]:
    """The regions that `parts` means and their scores in [0, 1], best first; one for a singular, more for a plural.

    A score is lower when another region fits nearly as well, and when no colour could be looked for. Empty when no
    region scores at least `LEAST`.
    """
    pool = make_pool(layer, wanted_colours(parts))
    scores = region_scores(pool, parts)
    if parts.relation and parts.anchor:
        anchor = read_phrase(parts.anchor)
        if wanted_colours(anchor):
            scores = scores * _relation_fit(layer, pool, parts.relation, anchor)
    rivals = distinct(pool, scores)
    if not rivals:
        return pool, []
    compared = [
        (i, scores[i] * f) for i, f in zip(rivals, _compare(pool, rivals, parts), strict=True)
    ]
    compared.sort(key=lambda pair: -pair[1])
    doubt = compared[1][1] / compared[0][1] if len(compared) > 1 and not parts.plural else 0.0
    sure = (1.0 - 0.5 * doubt) * (1.0 if wanted_colours(parts) else 0.6)
    compared = [(i, float(score * sure)) for i, score in compared]
    if not parts.plural:
        return pool, compared[:1]
    several = [pair for pair in compared if pair[1] >= RIVAL * compared[0][1]]
    return pool, several[: parts.count or 8]


def wanted_colours(parts: PhraseParts) -> tuple[str, ...]:
    """The colours said of the target, else of a part of it, else usual for its material, else for its noun."""
    said = parts.colours or parts.part_colours
    usual = [c for m in parts.materials for c in MATERIAL_COLOURS.get(m, ())]
    return said or tuple(usual) or TYPICAL_COLOURS.get(parts.head, ())


def region_scores(pool: Pool, parts: PhraseParts) -> Floats:
    """How well each region of `pool` fits the colours and places of `parts` and looks like a thing, in [0, 1]."""
    score = thing_fit(pool)
    if parts.colours or parts.part_colours:
        score = score * pool.colour * (0.3 + 0.7 * np.sqrt(pool.salient))
    elif wanted_colours(parts):
        score = score * (0.1 + 0.9 * pool.colour) * (0.3 + 0.7 * np.sqrt(pool.salient))
    else:
        score = score * np.sqrt(pool.salient)
    outline = [outline_fit(parts.head, b[2] - b[0], b[3] - b[1]) for b in pool.box]
    score = score * np.array(outline)
    if parts.places:
        fit = place_fit(parts.places, pool.x, pool.y)
        score = score * (np.sqrt(fit) if set(parts.places) & set(COMPARISONS) else fit)
    return score


def thing_fit(pool: Pool) -> Floats:
    """How much each region looks like a thing by its size and the frame it touches, in [0, 1]."""
    small = np.clip(pool.area / SMALLEST, 0, 1) ** 2
    mid = np.clip(np.sqrt(pool.area / 0.02), 0.35, 1.0)
    large = np.clip((2 * LARGEST - pool.area) / LARGEST, 0, 1)
    return small * mid * large * (1.0 - 0.6 * pool.edge)


def distinct(pool: Pool, scores: Floats, *, most: int = 12) -> list[int]:
    """Regions with at least `RIVAL` of the best score, best first, no two of them the same thing."""
    if not len(scores) or scores.max() < LEAST:
        return []
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        if scores[i] < RIVAL * scores.max() or len(kept) == most:
            break
        box = _box(pool, int(i))
        if all(
            box_iou(box, _box(pool, k)) < OVERLAP and not _inside(box, _box(pool, k)) for k in kept
        ):
            kept.append(int(i))
    return kept


def _compare(pool: Pool, rivals: Sequence[int], parts: PhraseParts) -> Floats:
    """A factor in (0, 1] per rival: how well it does against the others in size and "-most" place."""
    factor = np.ones(len(rivals))
    index = np.array(rivals)
    width, height = (
        pool.box[index, 2] - pool.box[index, 0],
        pool.box[index, 3] - pool.box[index, 1],
    )
    measures = {
        "large": pool.area[index],
        "small": 1.0 / pool.area[index],
        "tall": height,
        "short": 1.0 / height,
        "long": np.maximum(width, height),
        "wide": width,
        "narrow": 1.0 / width,
    }
    for size in parts.sizes:
        factor = factor * (measures[size] / measures[size].max())
    for place in parts.places:
        if place in COMPARISONS and len(rivals) > 1:
            axis, sign = COMPARISONS[place]
            along = sign * (pool.x if axis == "x" else pool.y)[index]
            factor = factor * np.exp(-4.0 * (along.max() - along))
    return factor


def _relation_fit(layer: Layer, pool: Pool, relation: str, anchor: PhraseParts) -> Floats:
    """How well each region of `pool` stands in `relation` to the best region for the anchor, in [0, 1]."""
    others = make_pool(layer, wanted_colours(anchor))
    scores = region_scores(others, anchor)
    if not len(scores) or scores.max() < 0.1:
        return np.ones(len(pool.area))
    best = int(scores.argmax())
    dx, dy = pool.x - others.x[best], pool.y - others.y[best]
    close = np.exp(-np.hypot(dx, dy) / 0.35)
    same = np.array([box_iou(_box(pool, i), _box(others, best)) > OVERLAP for i in range(len(dx))])
    match relation:
        case "left of":
            fit = _step(-dx) * close
        case "right of":
            fit = _step(dx) * close
        case "above" | "on" | "behind":
            fit = _step(-dy + 0.02) * close
        case "below" | "in front of":
            fit = _step(dy) * close
        case _:
            fit = close
    return np.where(same, 0.1, fit)


def _step(value: Floats) -> Floats:
    return 1.0 / (1.0 + np.exp(-value / 0.03))


def _inside(
    inner: tuple[float, float, float, float], outer: tuple[float, float, float, float]
) -> bool:
    """Whether most of `inner` lies in `outer`."""
    width = min(inner[2], outer[2]) - max(inner[0], outer[0])
    height = min(inner[3], outer[3]) - max(inner[1], outer[1])
    area = (inner[2] - inner[0]) * (inner[3] - inner[1])
    return width > 0 and height > 0 and width * height > 0.8 * area


def _box(pool: Pool, index: int) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (float(v) for v in pool.box[index])
    return (x1, y1, x2, y2)
