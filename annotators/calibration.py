"""A score as a probability: isotonic regression on labels whose truth is known, and how well it holds out of fold.

Isotonic regression (Zadrozny and Elkan 2002) assumes one thing, that a higher score is not worse, and gives a step
function as a few knots; between them it is read by straight lines. What is learnt is plain numbers, so that a recipe
can hold it. Judge it by `out_of_fold` values alone: on its own samples it is always calibrated.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annotators.label import Quality

Floats = NDArray[np.float64]
Knots = tuple[tuple[float, float], ...]
"""(score, value) pairs, both in [0, 1] and neither falling; at least one."""

BINS = 10
KIND = "calibration"


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What was learnt of a score: `right`, the chance that IoU >= 0.5, and `iou`, the IoU to expect.

    `rules` are the quality rules whose scores it was learnt from; it says nothing about others.
    """

    right: Knots
    iou: Knots
    rules: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Samples with a score in [`lo`, `hi`): how many, their mean score, and the share of them that is right."""

    lo: float
    hi: float
    n: int
    mean: float
    share: float


def fit_knots(scores: Floats, values: Floats) -> Knots:
    """Isotonic regression of `values` on `scores`, both (n,) in [0, 1], as knots rounded to six digits."""
    from sklearn.isotonic import IsotonicRegression

    model = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(scores, values)
    pairs = zip(model.X_thresholds_.tolist(), model.y_thresholds_.tolist(), strict=True)
    return tuple((round(x, 6), round(y, 6)) for x, y in pairs)


def read_off(knots: Knots, score: float) -> float:
    """The value at `score`: linear between knots, constant outside them.

    >>> read_off(((0.2, 0.0), (0.6, 1.0)), 0.3)
    0.25
    """
    return float(np.interp(score, [x for x, _ in knots], [y for _, y in knots]))


def calibrated(quality: Quality, learnt: Calibration) -> Quality:
    """`quality` with its score turned into the chance that the label is right.

    The parts "raw" (the score as it was) and "iou" (what to expect) are added.

    Raises:
        ValueError: the score was made by a rule that `learnt` was not learnt from.
    """
    if quality.rule not in learnt.rules:
        raise ValueError(
            f"the calibration was learnt from scores by {', '.join(learnt.rules)}; this one is by {quality.rule!r}: "
            "run `maskmix calibrate` on a dataset that was scored in the same way"
        )
    extra = (("raw", quality.score), ("iou", read_off(learnt.iou, quality.score)))
    return Quality(
        score=read_off(learnt.right, quality.score),
        parts=(*quality.parts, *extra),
        rule=f"{quality.rule}+isotonic",
    )


def deal_folds(keys: Sequence[str], *, folds: int) -> NDArray[np.int64]:
    """The fold of each sample, (n,): the same for equal keys (image hashes), spread evenly over distinct ones."""
    order = sorted(set(keys), key=lambda key: hashlib.sha256(key.encode()).hexdigest())
    fold = {key: number % folds for number, key in enumerate(order)}
    return np.array([fold[key] for key in keys], np.int64)


def out_of_fold(
    scores: Floats,
    values: Floats,
    fold: NDArray[np.int64],
    *,
    fit: Callable[[Floats, Floats], Knots] = fit_knots,
) -> Floats:
    """The calibrated value of each sample by knots that its fold had no part in, (n,)."""
    found = np.empty(len(scores), np.float64)
    for number in np.unique(fold):
        mine = fold == number
        knots = fit(scores[~mine], values[~mine])
        found[mine] = [read_off(knots, score) for score in scores[mine].tolist()]
    return found


def reliability_bins(scores: Floats, right: NDArray[np.bool_], *, bins: int = BINS) -> list[Bin]:
    """The reliability diagram: equal bins of [0, 1], empty ones left out; a score of 1 is in the last."""
    place = np.minimum((scores * bins).astype(np.int64), bins - 1)
    return [
        Bin(
            lo=number / bins,
            hi=(number + 1) / bins,
            n=int((place == number).sum()),
            mean=float(scores[place == number].mean()),
            share=float(right[place == number].mean()),
        )
        for number in np.unique(place).tolist()
    ]


def calibration_error(bins: Sequence[Bin]) -> float:
    """Expected calibration error (Naeini et al. 2015): mean distance of score and share over bins, weighted by n."""
    total = sum(b.n for b in bins)
    return sum(b.n * abs(b.mean - b.share) for b in bins) / total if total else 0.0


def read_calibration(table: Mapping[str, Any]) -> Calibration:
    """What `essence` keeps, as an object.

    Raises:
        ValueError: the table is not one of calibration.
    """
    if table.get("kind") != KIND:
        raise ValueError(f"it is of kind {table.get('kind')!r}; expected sidecars/calibration.json")
    try:
        return Calibration(
            right=_knots(table["right"]), iou=_knots(table["iou"]), rules=tuple(table["rules"])
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"it is no table of `maskmix calibrate`: {error!r}") from error


def essence(table: Mapping[str, Any]) -> dict[str, Any]:
    """Of calibration.json what decides a score: the knots and the rules; the rest is for reading.

    Raises:
        ValueError: the table is not one of calibration.
    """
    learnt = read_calibration(table)
    return {
        "kind": KIND,
        "right": [list(knot) for knot in learnt.right],
        "iou": [list(knot) for knot in learnt.iou],
        "rules": list(learnt.rules),
    }


def _knots(pairs: Any) -> Knots:
    knots = tuple((float(x), float(y)) for x, y in pairs)
    flat = np.array(knots, np.float64).reshape(-1, 2)
    if not len(knots) or not ((flat >= 0) & (flat <= 1)).all() or (np.diff(flat, axis=0) < 0).any():
        raise ValueError(f"knots {knots[:4]}...; expected rising (score, value) pairs in [0, 1]")
    return knots
