"""How sure an AUC is: an interval by bootstrap over photographs, whose labels stand or fall together.

Photographs are drawn with replacement, so a label counts as often as its photograph was drawn; the interval holds the
middle `confidence` of the AUCs (percentile bootstrap, Efron 1979). Few photographs give wide intervals, and with one or
two of a kind they are too narrow.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

AT_ONCE = 100
"""Resamples that are counted together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A number and the ends of its interval; None where nothing defines them."""

    value: float | None
    low: float | None
    high: float | None


def auc_interval(
    right: NDArray[np.bool_],
    scores: NDArray[np.float64],
    images: Sequence[str],
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The chance that a right label scores above a wrong one, ties half.

    Args:
        right: bool n.
        scores: float64 n; what differs by less than 1e-6 is equal, since batching may move last bits.
        images: of each label, n.
        resamples: how often photographs are drawn; draws without both kinds of labels are left out.
        confidence: of the interval, in (0, 1).
        seed: the same seed and photographs give the same draws, whatever the scores.
    """
    _, image_of = np.unique(np.array(images), return_inverse=True)
    m = int(image_of.max(initial=-1)) + 1
    whole = weighted_aucs(right, scores, np.ones((1, len(right))))[0]
    if not np.isfinite(whole):
        return Interval(value=None, low=None, high=None)
    rng = np.random.default_rng(seed)
    found: list[float] = []
    for start in range(0, resamples, AT_ONCE):
        often = rng.multinomial(m, np.full(m, 1 / m), size=min(AT_ONCE, resamples - start))
        found += weighted_aucs(right, scores, often[:, image_of].astype(np.float64)).tolist()
    tail = 50 * (1 - confidence)
    low, high = np.nanpercentile(found, [tail, 100 - tail])
    return Interval(value=float(whole), low=float(low), high=float(high))


def weighted_aucs(
    right: NDArray[np.bool_], scores: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """AUCs r of labels n that count `weights` rn times each; NaN without a right or a wrong one.

    >>> right, scores = np.array([False, False, True, True]), np.array([0.1, 0.4, 0.4, 0.9])
    >>> weighted_aucs(right, scores, np.ones((1, 4))).tolist()
    [0.875]
    """
    close = np.round(scores, 6)
    order = np.argsort(close, kind="stable")
    ranked, good, w = close[order], right[order], weights[:, order]
    starts = np.flatnonzero(np.diff(ranked, prepend=np.nan) != 0)
    if not len(starts):
        return np.full(len(weights), np.nan)
    ups = np.add.reduceat(w * good, starts, axis=1)
    downs = np.add.reduceat(w * ~good, starts, axis=1)
    hits = (ups * (downs.cumsum(1) - downs / 2)).sum(1)
    pairs = ups.sum(1) * downs.sum(1)
    return np.divide(hits, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)
