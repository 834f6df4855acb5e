"""STAPLE: the hidden true mask and each expert's sensitivity and specificity, by expectation maximisation.

Warfield, Zou, Wells 2004 (IEEE TMI 23(7)), without the spatial prior. Pixels that got the same votes have the same
posterior, so EM runs over at most 2^K vote patterns with their pixel counts after one pass over the image:
O(h w K + iterations 2^K) in place of O(iterations h w K), and the same numbers.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FLOOR = 1e-12
"""Sensitivities, specificities and the prior stay this far from 0 and 1, so that logarithms are finite."""
DENSE = 16
"""Up to this many experts patterns are counted in a table of 2^K; above it by sorting."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Staple:
    """What EM found.

    `posterior` float64 (h, w) is the probability of foreground. `sensitivity` (k,) is each expert's chance to mark a
    true pixel, `specificity` (k,) its chance to leave out a false one.
    """

    posterior: Floats
    sensitivity: Floats
    specificity: Floats
    prior: float
    iterations: int
    converged: bool


def staple(
    votes: NDArray[np.bool_],
    *,
    start: Floats | None = None,
    prior: float | None = None,
    band: bool = False,
    tolerance: float = 1e-7,
    max_iterations: int = 200,
) -> Staple:
    """Run EM over `votes`, boolean (k, h, w).

    Args:
        votes: one mask per expert.
        start: the sensitivity and specificity (k,) of each expert to start from; 0.99 when None.
        prior: share of foreground before the votes; the mean of all votes when None.
        band: look only at pixels on which experts disagree; where all agree they are believed. Agreed background is
            most of an image and otherwise pushes every specificity towards 1, so that one vote is enough.
        tolerance: stop when no sensitivity or specificity moves by more.
        max_iterations: stop here at the latest, with `converged` False.

    Raises:
        ValueError: `votes` is not (k, h, w) with k >= 1, or `start` is not (k,) inside (0, 1).

    >>> staple(np.array([[[1, 0]], [[1, 0]], [[1, 1]]], bool)).posterior.round(3).tolist()
    [[1.0, 0.0]]
    """
    if votes.ndim != 3 or votes.shape[0] < 1:
        raise ValueError(f"votes of shape {votes.shape}; expected (k, h, w) with at least 1 expert")
    k = votes.shape[0]
    begin = np.full(k, 0.99) if start is None else np.asarray(start, np.float64)
    if begin.shape != (k,) or not ((begin > 0) & (begin < 1)).all():
        raise ValueError(f"start {begin.tolist()}; expected {k} numbers inside (0, 1)")

    said, counts, which = vote_patterns(votes)
    unanimous = said.all(axis=1) | ~said.any(axis=1)
    weights = np.where(unanimous, 0, counts) if band else counts
    if not weights.any():
        believed = np.asarray(said.all(axis=1), np.float64)
        return Staple(
            posterior=believed[which].reshape(votes.shape[1:]),
            sensitivity=begin,
            specificity=begin.copy(),
            prior=float(believed @ counts / counts.sum()),
            iterations=0,
            converged=True,
        )
    share = float((said.mean(axis=1) * weights).sum() / weights.sum()) if prior is None else prior
    share = float(np.clip(share, FLOOR, 1 - FLOOR))

    sensitivity, specificity = begin, begin.copy()
    truth = np.zeros(len(counts))
    converged = False
    iteration = 0
    while iteration < max_iterations and not converged:
        iteration += 1
        truth = _expect(said, sensitivity, specificity, share)
        new_sensitivity, new_specificity = _maximise(said, truth, weights)
        moved = max(
            float(np.abs(new_sensitivity - sensitivity).max()),
            float(np.abs(new_specificity - specificity).max()),
        )
        sensitivity, specificity = new_sensitivity, new_specificity
        converged = moved <= tolerance
    truth = _expect(said, sensitivity, specificity, share)
    if band:
        truth = np.where(unanimous, said.all(axis=1), truth)
    return Staple(
        posterior=truth[which].reshape(votes.shape[1:]),
        sensitivity=sensitivity,
        specificity=specificity,
        prior=share,
        iterations=iteration,
        converged=converged,
    )


def believe(
    votes: NDArray[np.bool_],
    *,
    sensitivity: Floats,
    specificity: Floats,
    prior: float | None = None,
    band: bool = False,
) -> Floats:
    """Posterior of foreground, float64 (h, w), under rates that are known: one E step and no learning.

    Args:
        votes: one boolean (h, w) mask per expert, (k, h, w).
        sensitivity: each expert's chance to mark a true pixel, (k,) in [0, 1].
        specificity: each expert's chance to leave out a false one, (k,) in [0, 1].
        prior: share of foreground before the votes; the mean of the votes when None.
        band: where all experts agree they are believed, whatever the rates say, and the mean vote is that of the
            other pixels: what is disputed is more often foreground than the rest of an image.

    Raises:
        ValueError: `votes` is not (k, h, w) with k >= 1, or the rates are not k numbers in [0, 1].
    """
    if votes.ndim != 3 or votes.shape[0] < 1:
        raise ValueError(f"votes of shape {votes.shape}; expected (k, h, w) with at least 1 expert")
    for name, rates in (("sensitivity", sensitivity), ("specificity", specificity)):
        if rates.shape != votes.shape[:1] or not ((rates >= 0) & (rates <= 1)).all():
            raise ValueError(f"{name} {rates.tolist()}; expected {len(votes)} numbers in [0, 1]")
    said, counts, which = vote_patterns(votes)
    unanimous = said.all(axis=1) | ~said.any(axis=1)
    weights = np.where(unanimous, 0, counts) if band and not unanimous.all() else counts
    share = float(said.mean(axis=1) @ weights / weights.sum()) if prior is None else prior
    share = float(np.clip(share, FLOOR, 1 - FLOOR))
    truth = _expect(said, sensitivity, specificity, share)
    if band:
        truth = np.where(unanimous, said.all(axis=1), truth)
    return truth[which].reshape(votes.shape[1:])


def vote_patterns(
    votes: NDArray[np.bool_],
) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.integer]]:
    """Distinct vote patterns of (k, h, w) masks.

    Returns:
        The patterns that occur, boolean (p, k); how many pixels each has (p,); each pixel's pattern (h * w,).
    """
    k = votes.shape[0]
    if k > 62:
        raise ValueError(f"{k} experts; expected at most 62, a pattern is one 64-bit number")
    # the narrowest number that holds a pattern: this pass is bound by memory
    kind = np.uint8 if k <= 8 else np.uint16 if k <= DENSE else np.int64
    codes = np.zeros(votes[0].size, kind)
    for bit in range(k):
        codes |= np.multiply(votes[bit].ravel(), kind(1 << bit), dtype=kind)
    if k <= DENSE:
        table = np.bincount(codes, minlength=1 << k)
        present = np.flatnonzero(table)
        rank = np.zeros(1 << k, kind)
        rank[present] = np.arange(len(present))
        counts, which = table[present], rank[codes]
    else:
        present, which, counts = np.unique(codes, return_inverse=True, return_counts=True)
    said = (present[:, None] >> np.arange(k)) & 1 == 1
    return said, counts.astype(np.int64), which


def _expect(
    said: NDArray[np.bool_], sensitivity: Floats, specificity: Floats, prior: float
) -> Floats:
    """Posterior of foreground per pattern (Warfield et al., equation 14), in logarithms."""
    p = np.clip(sensitivity, FLOOR, 1 - FLOOR)
    q = np.clip(specificity, FLOOR, 1 - FLOOR)
    for_true = np.log(prior) + np.where(said, np.log(p), np.log1p(-p)).sum(axis=1)
    for_false = np.log1p(-prior) + np.where(said, np.log1p(-q), np.log(q)).sum(axis=1)
    return 1.0 / (1.0 + np.exp(np.clip(for_false - for_true, -700, 700)))


def _maximise(
    said: NDArray[np.bool_], truth: Floats, weights: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Sensitivity and specificity of each expert given the posteriors (equations 18 and 19)."""
    foreground = truth * weights
    background = (1.0 - truth) * weights
    sensitivity = (foreground @ said) / max(foreground.sum(), FLOOR)
    specificity = (background @ ~said) / max(background.sum(), FLOOR)
    return sensitivity, specificity
