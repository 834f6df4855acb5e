"""Candidates of many experts to one label, by one of four rules. Every expert has one vote (see `annotators.votes`).

- `best`: the strongest single candidate (score times stability); ties go to the earlier one.
- `vote`: pixels that at least `threshold` of the experts mark.
- `soft`: the share of experts that mark a pixel, kept grey: what the released IVM data holds, as its reader implies.
- `staple`: experts weighed by their agreement with the others (`annotators.staple`).

With one candidate all four give that candidate. Without any, the label is empty: no target found.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from annotators.candidate import Candidate
from annotators.label import Label
from annotators.staple import staple
from annotators.votes import Vote, strength, votes_of

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
) -> Label:
    """Make one label of `size_hw` pixels.

    Args:
        candidates: masks of `size_hw` by any experts, for one target.
        size_hw: height and width of the image.
        rule: see the module.
        threshold: agreement (`vote`) or posterior (`staple`) in [0, 1] at which a pixel belongs to the label.
        reliabilities: expert name -> trust inside (0, 1], 1 when absent. It multiplies an expert's strength (`best`)
            or vote (`vote`, `soft`), and is where its sensitivity and specificity start (`staple`, at most 0.99).
        saturate: `soft` only: multiply agreement by 1.5 and cut at 1 (grey levels 85, 170, 255 to 128, 255, 255).
        band: `staple` only: learn reliabilities from the pixels on which experts disagree.

    Raises:
        ValueError: the rule is unknown, a mask has another size, or a number is out of range.
    """
    if rule not in get_args(Rule):
        raise ValueError(f"unknown fusion rule: {rule!r}. Known: {', '.join(get_args(Rule))}")
    if not 0.0 <= threshold <= 1.0:
        raise ValueError(f"fusion threshold {threshold}; expected a number in [0, 1]")
    trust = dict(reliabilities or {})
    for name, value in trust.items():
        if not 0.0 < value <= 1.0:
            raise ValueError(f"reliability of expert {name!r} is {value}; expected inside (0, 1]")

    kind: Literal["binary", "soft"] = "soft" if rule == "soft" else "binary"
    votes = votes_of(candidates, size_hw)
    if not votes:
        return Label(mask=np.zeros(size_hw, np.uint8), kind=kind, members=(), rule=rule)
    if rule == "best":
        index = max(
            range(len(candidates)),
            key=lambda i: (
                strength(candidates[i]) * trust.get(candidates[i].made_by.expert, 1.0),
                -i,
            ),
        )
        return _binary(candidates[index].mask.array(), (index,), rule)

    members = tuple(sorted(i for vote in votes for i in vote.members))
    if rule == "staple":
        believed = _staple(votes, trust, band)
        return _binary(believed >= threshold - 1e-9, members, rule)
    agreement = _agreement(votes, trust)
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


def _agreement(votes: Sequence[Vote], trust: Mapping[str, float]) -> NDArray[np.float64]:
    """Trust-weighted share of experts that mark each pixel, in [0, 1]."""
    weights = [trust.get(vote.expert, 1.0) for vote in votes]
    total = np.zeros(votes[0].mask.shape, np.float64)
    for vote, weight in zip(votes, weights, strict=True):
        total += weight * vote.mask
    return total / sum(weights)


def _staple(votes: Sequence[Vote], trust: Mapping[str, float], band: bool) -> NDArray[np.float64]:
    start = np.clip([trust.get(vote.expert, 0.99) for vote in votes], 0.01, 0.99)
    masks = np.stack([vote.mask for vote in votes])
    if len(votes) == 1:
        return masks[0].astype(np.float64)
    return staple(masks, start=start, band=band).posterior
