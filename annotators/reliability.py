"""How far each expert can be trusted, learnt over a whole dataset without gold: sensitivity and specificity by EM.

One pair per expert and kind of instruction (Dawid and Skene 1979; STAPLE, Warfield, Zou, Wells 2004), shared by all
samples. Pixels in which the same experts say the same have the same posterior, so a dataset is a table of vote
patterns with their weights, at most 3^K a style, filled in one pass over samples and then enough for any number of
iterations. An expert that abstains on a sample is missing there, not a vote against.

Decisions. Every sample weighs the same, whatever its size: pixels of one image err together. The prior of EM is pooled
over all samples of a style on which the same experts spoke; fusion then uses the sample's own prior, the mean vote
where experts disagree. All pixels are learnt from, not only those in dispute (`band`): seen through disagreement alone,
an expert that contradicts the others by marking much has a specificity near 0, and fusion with such numbers is worse
(EXPERIMENTS.md). Styles with few samples lean on the numbers of all (`shrink`).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from annotators.rates import START, Rates
from annotators.staple import FLOOR, vote_patterns
from annotators.votes import Vote

Floats = NDArray[np.float64]
Group = tuple[str, ...]
"""The voters that spoke, sorted (annotators.votes.voter_key)."""
Patterns = dict[Group, dict[int, float]]
"""Weight by pattern: bit i of a pattern is what voter i of the group says of a pixel."""

SHRINK = 10.0
"""Samples' worth of the overall numbers that a style's own are mixed with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """What EM found: rates by voter."""

    rates: Mapping[str, Rates]
    iterations: int
    converged: bool


class VoteTally:
    """Vote patterns of a dataset by style, counted sample by sample.

    With `even` every sample weighs 1, else every pixel does; with `band` only pixels on which experts disagree count.
    """

    def __init__(self, *, even: bool = True, band: bool = False) -> None:
        self.even, self.band = even, band
        self.samples: dict[str, int] = defaultdict(int)
        self.spoke: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        self.patterns: dict[str, Patterns] = defaultdict(dict)

    def add(self, votes: Sequence[Vote], *, style: str) -> None:
        """Count one sample; `votes` are of the experts that did not abstain."""
        self.samples[style] += 1
        ordered = sorted(votes, key=lambda vote: vote.voter)
        for vote in ordered:
            self.spoke[style][vote.voter] += 1
        if not ordered:
            return
        said, counts, _ = vote_patterns(np.stack([vote.mask for vote in ordered]))
        codes = said @ (1 << np.arange(len(ordered), dtype=np.int64))
        if self.band:
            disputed = said.any(axis=1) & ~said.all(axis=1)
            codes, counts = codes[disputed], counts[disputed]
        if not counts.sum():
            return
        weights = counts / counts.sum() if self.even else counts.astype(np.float64)
        group = tuple(vote.voter for vote in ordered)
        mine = self.patterns[style].setdefault(group, {})
        for code, weight in zip(codes.tolist(), weights.tolist(), strict=True):
            mine[code] = mine.get(code, 0.0) + weight

    @property
    def voters(self) -> tuple[str, ...]:
        """Every expert that spoke at least once, sorted."""
        return tuple(sorted({voter for spoke in self.spoke.values() for voter in spoke}))

    def everywhere(self) -> Patterns:
        """The patterns of all styles together."""
        total: Patterns = {}
        for style in sorted(self.patterns):
            for group, mine in self.patterns[style].items():
                into = total.setdefault(group, {})
                for code, weight in mine.items():
                    into[code] = into.get(code, 0.0) + weight
        return total


def learn(
    patterns: Patterns,
    *,
    anchor: Mapping[str, Rates] | None = None,
    shrink: float = 0.0,
    prior: float | None = None,
    tolerance: float = 1e-7,
    max_iterations: int = 500,
) -> Learnt:
    """Run EM over weighted vote patterns.

    Args:
        patterns: what a `VoteTally` counted.
        anchor: rates by voter that the result is drawn to, for every voter in `patterns`.
        shrink: weight of the anchor, in the unit of the patterns (samples for an even tally).
        prior: share of foreground before the votes; for each group the mean of its votes when None.
        tolerance: stop when no rate moves by more.
        max_iterations: stop here at the latest, with `converged` False.

    Raises:
        ValueError: there is no pattern to learn from.
    """
    if not any(mine for mine in patterns.values()):
        raise ValueError("no votes to learn from; expected at least one sample with a candidate")
    voters = tuple(sorted({voter for group in patterns for voter in group}))
    spoke, said, weight, odds = _table(patterns, voters, prior)
    heard = spoke.astype(np.float64)
    yes, no = (spoke & said).astype(np.float64), (spoke & ~said).astype(np.float64)
    drawn = np.array([[a.sensitivity, a.specificity] for a in map(anchor.__getitem__, voters)]
                     if anchor else np.full((len(voters), 2), START))  # fmt: skip
    rates = drawn.copy() if anchor else np.full((len(voters), 2), START)
    pull = shrink if anchor else 0.0
    converged, iteration = False, 0
    while iteration < max_iterations and not converged:
        iteration += 1
        truth = _expect(yes, no, rates, odds)
        found = np.stack(
            [
                _share((truth * weight) @ yes, (truth * weight) @ heard, drawn[:, 0], pull),
                _share(((1 - truth) * weight) @ no, ((1 - truth) * weight) @ heard, drawn[:, 1], pull),
            ],
            axis=1,
        )  # fmt: skip
        converged = float(np.abs(found - rates).max()) <= tolerance
        rates = found
    return Learnt(
        rates={
            voter: Rates(sensitivity=float(p), specificity=float(q))
            for voter, (p, q) in zip(voters, rates, strict=True)
        },
        iterations=iteration,
        converged=converged,
    )


def learn_by_style(tally: VoteTally, *, shrink: float = SHRINK) -> tuple[Learnt, dict[str, Learnt]]:
    """Rates over all samples, and those of each style, drawn towards them.

    A voter that never spoke in a style has the overall rates there.

    Raises:
        ValueError: no sample has a candidate.
    """
    overall = learn(tally.everywhere())
    styles: dict[str, Learnt] = {}
    for style in sorted(tally.samples):
        if not tally.patterns.get(style):
            styles[style] = Learnt(rates=overall.rates, iterations=0, converged=True)
            continue
        own = learn(tally.patterns[style], anchor=overall.rates, shrink=shrink)
        styles[style] = Learnt(
            rates={**overall.rates, **own.rates},
            iterations=own.iterations,
            converged=own.converged,
        )
    return overall, styles


class Audit:
    """The same rates against gold, where a human drew it: what EM should have found. Every sample weighs the same."""

    def __init__(self) -> None:
        self.samples: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        self._sums: dict[str, dict[str, Floats]] = defaultdict(
            lambda: defaultdict(lambda: np.zeros(4))
        )

    def add(self, votes: Sequence[Vote], gold: NDArray[np.bool_], *, style: str) -> None:
        """Count one sample with its true mask, boolean (h, w)."""
        for vote in votes:
            hit, told = np.count_nonzero(vote.mask & gold), np.count_nonzero(gold)
            left = np.count_nonzero(~vote.mask & ~gold)
            counts = np.array([hit, told, left, gold.size - told]) / gold.size
            self._sums[style][vote.voter] += counts
            self.samples[style][vote.voter] += 1

    def rates(self, voter: str, style: str | None = None) -> Rates | None:
        """True rates in a style, or in all of them; None where they are not known (no gold, or nothing in it)."""
        found = [
            sums[voter] for s, sums in self._sums.items() if style in (None, s) and voter in sums
        ]
        hit, told, left, rest = np.sum(found, axis=0) if found else np.zeros(4)
        if not told or not rest:
            return None
        return Rates(sensitivity=float(hit / told), specificity=float(left / rest))

    def count(self, voter: str, style: str | None = None) -> int:
        """Samples with gold on which the voter spoke."""
        return sum(mine.get(voter, 0) for s, mine in self.samples.items() if style in (None, s))


def _table(
    patterns: Patterns, voters: Sequence[str], prior: float | None
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], Floats, Floats]:
    """Rows of who spoke (n, k), who said yes (n, k), the weight (n,) and the prior log odds (n,) of each pattern."""
    place = {voter: number for number, voter in enumerate(voters)}
    spoke: list[NDArray[np.bool_]] = []
    said: list[NDArray[np.bool_]] = []
    weights: list[Floats] = []
    odds: list[Floats] = []
    for group, mine in patterns.items():
        columns = [place[voter] for voter in group]
        codes = np.array(list(mine), np.int64)
        weight = np.array(list(mine.values()), np.float64)
        votes = (codes[:, None] >> np.arange(len(group))) & 1 == 1
        here = np.zeros((len(codes), len(voters)), bool)
        here[:, columns] = True
        marks = np.zeros_like(here)
        marks[:, columns] = votes
        share = prior
        if share is None:
            share = float(votes.mean(axis=1) @ weight / max(weight.sum(), FLOOR))
        share = min(max(share, FLOOR), 1 - FLOOR)
        spoke.append(here)
        said.append(marks)
        weights.append(weight)
        odds.append(np.full(len(codes), np.log(share) - np.log1p(-share)))
    return (
        np.concatenate(spoke),
        np.concatenate(said),
        np.concatenate(weights),
        np.concatenate(odds),
    )


def _expect(yes: Floats, no: Floats, rates: Floats, odds: Floats) -> Floats:
    """Posterior of foreground per pattern: prior odds times the likelihood ratio of every vote that was given."""
    p, q = np.clip(rates, FLOOR, 1 - FLOOR).T
    logit = odds + yes @ (np.log(p) - np.log1p(-q)) + no @ (np.log1p(-p) - np.log(q))
    return 1.0 / (1.0 + np.exp(np.clip(-logit, -700, 700)))


def _share(hits: Floats, of: Floats, drawn_to: Floats, pull: float) -> Floats:
    """`hits / of` with `pull` more cases at `drawn_to`; where there is no case at all, `drawn_to`."""
    total = of + pull
    return np.where(total > 0, (hits + pull * drawn_to) / np.where(total > 0, total, 1.0), drawn_to)
