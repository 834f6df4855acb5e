"""Candidates of many experts to one label, by one of five rules. Every expert has one vote (see `annotators.votes`).

- `best`: the strongest single candidate (score times stability); ties go to the earlier one.
- `vote`: pixels that at least `threshold` of the experts mark.
- `soft`: the share of experts that mark a pixel, kept grey: what the released IVM data holds, as its reader implies.
- `staple`: experts weighed by their agreement with the others, on this sample (`annotators.staple`) or, with `learnt`,
  over a whole dataset (`annotators.reliability`).
- `cluster`: instances that at least `threshold` of the experts found, each voted on by itself (`annotators.clusters`).

With one candidate all five give that candidate. Without any, the label is empty: no target found.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from annotators.candidate import Candidate
from annotators.clusters import clusters_of
from annotators.halt import Halt
from annotators.label import Label
from annotators.rates import Rates, mean_rates
from annotators.staple import believe, staple
from annotators.votes import Vote, strength, voter_key, votes_of

Rule = Literal["best", "vote", "soft", "staple", "cluster"]

SATURATION = 1.5
"""Factor of `saturate`: IVM's reader multiplies grey levels by it, so that two experts of three count as full."""


def fuse(
    candidates: Sequence[Candidate],
    size_hw: tuple[int, int],
    *,
    rule: Rule,
    threshold: float = 0.5,
    reliabilities: Mapping[str, float] | None = None,
    saturate: bool = False,
    band: bool = True,
    learnt: Mapping[str, Rates] | None = None,
) -> Label:
    """Make one label of `size_hw` pixels.

    Args:
        candidates: masks of `size_hw` by any experts, for one target.
        size_hw: height and width of the image.
        rule: see the module.
        threshold: agreement (`vote`) or posterior (`staple`) in [0, 1] at which a pixel belongs to the label, or
            support at which an instance does (`cluster`). When no instance reaches it, the best-supported one is the
            label (the stronger of equals): experts did speak, and that nobody confirms them is for quality to say.
        reliabilities: trust inside (0, 1] by voter (`annotators.votes.voter_key`), or by expert name for all its
            configurations; 1 when absent. It multiplies an expert's strength (`best`) or vote (`vote`, `soft`,
            `cluster`), and is where its sensitivity and specificity start (`staple`, at most 0.99).
        saturate: `soft` only: multiply agreement by 1.5 and cut at 1 (grey levels 85, 170, 255 to 128, 255, 255).
        band: `staple` only: learn reliabilities from the pixels on which experts disagree.
        learnt: `staple` only: rates by voter that hold as they stand; where all agree they are believed, and the
            prior elsewhere is the mean vote there. A voter it does not know has the mean of those it knows.

    Raises:
        ValueError: the rule is unknown, a mask has another size, a number is out of range, or an option does not
            belong to the rule.
        Halt: two or more experts spoke and `learnt` knows none of them: it is the table of another panel.
    """
    if rule not in get_args(Rule):
        raise ValueError(f"unknown fusion rule: {rule!r}. Known: {', '.join(get_args(Rule))}")
    if not 0.0 <= threshold <= 1.0:
        raise ValueError(f"fusion threshold {threshold}; expected a number in [0, 1]")
    trust = dict(reliabilities or {})
    for name, value in trust.items():
        if not 0.0 < value <= 1.0:
            raise ValueError(f"reliability of expert {name!r} is {value}; expected inside (0, 1]")
    if saturate and rule != "soft":
        raise ValueError(f"saturate with rule {rule!r}; it is for the grey levels of rule 'soft'")
    if learnt is not None and rule != "staple":
        raise ValueError(f"learnt reliabilities with rule {rule!r}; only rule 'staple' takes them")

    kind: Literal["binary", "soft"] = "soft" if rule == "soft" else "binary"
    votes = votes_of(candidates, size_hw)
    if not votes:
        return Label(mask=np.zeros(size_hw, np.uint8), kind=kind, members=(), rule=rule)
    if rule == "best":
        index = max(
            range(len(candidates)),
            key=lambda i: (
                strength(candidates[i]) * _trust(trust, candidates[i]),
                -i,
            ),
        )
        return _binary(candidates[index].mask.array(), (index,), rule)

    if rule == "cluster":
        return _instances(candidates, trust, threshold, rule)
    members = tuple(sorted(i for vote in votes for i in vote.members))
    if rule == "staple":
        believed = _staple(votes, trust, band) if learnt is None else _learnt(votes, learnt)
        return _binary(believed >= threshold - 1e-9, members, rule)
    agreement = _agreement(votes, [_trust(trust, candidates[v.members[0]]) for v in votes])
    if rule == "vote":
        marked = np.logical_or.reduce([vote.mask for vote in votes])
        return _binary(marked & (agreement >= threshold - 1e-9), members, rule)
    if saturate:
        agreement = np.minimum(1.0, agreement * SATURATION)
    grey = np.floor(agreement * 255.0 + 0.5).astype(np.uint8)
    return Label(mask=grey, kind=kind, members=members if grey.any() else (), rule=rule)


def _binary(mask: NDArray[np.bool_], members: tuple[int, ...], rule: str) -> Label:
    if not mask.any():
        members = ()
    return Label(
        mask=mask.astype(np.uint8) * np.uint8(255), kind="binary", members=members, rule=rule
    )


def _trust(trust: Mapping[str, float], candidate: Candidate) -> float:
    return trust.get(voter_key(candidate), trust.get(candidate.made_by.expert, 1.0))


def _agreement(votes: Sequence[Vote], weights: Sequence[float]) -> NDArray[np.float64]:
    """Trust-weighted share of experts that mark each pixel, in [0, 1]."""
    total = np.zeros(votes[0].mask.shape, np.float64)
    for vote, weight in zip(votes, weights, strict=True):
        total += weight * vote.mask
    return total / sum(weights)


def _instances(
    candidates: Sequence[Candidate], trust: Mapping[str, float], threshold: float, rule: str
) -> Label:
    weights = {voter_key(c): _trust(trust, c) for c in candidates}
    found = clusters_of(candidates, weights)
    kept = [cluster for cluster in found if cluster.support >= threshold - 1e-9]
    if found and not kept:
        kept = [max(found, key=lambda cluster: cluster.support)]  # the first of equals: strongest
    mask = np.zeros(candidates[0].mask.size_hw, bool)
    for cluster in kept:
        mask |= cluster.mask
    return _binary(mask, tuple(sorted(i for cluster in kept for i in cluster.members)), rule)


def _learnt(votes: Sequence[Vote], learnt: Mapping[str, Rates]) -> NDArray[np.float64]:
    known = [learnt[vote.voter] for vote in votes if vote.voter in learnt]
    if len(votes) > 1 and not known:
        raise Halt(
            f"the learnt reliabilities know none of {', '.join(vote.voter for vote in votes)}; they know "
            f"{', '.join(sorted(learnt)) or 'nobody'}: run `maskmix calibrate` on a dataset of this panel"
        )
    mean = mean_rates(learnt.values())
    rates = [learnt.get(vote.voter, mean) for vote in votes]
    return believe(
        np.stack([vote.mask for vote in votes]),
        sensitivity=np.array([r.sensitivity for r in rates]),
        specificity=np.array([r.specificity for r in rates]),
        band=True,
    )


def _staple(votes: Sequence[Vote], trust: Mapping[str, float], band: bool) -> NDArray[np.float64]:
    start = np.clip([trust.get(v.voter, trust.get(v.expert, 0.99)) for v in votes], 0.01, 0.99)
    masks = np.stack([vote.mask for vote in votes])
    if len(votes) == 1:
        return masks[0].astype(np.float64)
    return staple(masks, start=start, band=band).posterior
