"""One vote per expert, or per pair of grounder and segmenter: its candidates become one mask before votes are compared.

An expert that cuts three boxes must not outvote one that draws a single mask. Its vote is the union of its strongest
candidate and of every other one at least `COMPANY` times as strong: several things for "all the mugs", and not the
long tail of a detector for "the mug".
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from annotators.candidate import Candidate, expert_key
from annotators.masks import BoolMask

COMPANY = 0.8
"""Share of the strongest candidate's strength at which another candidate of the same expert joins its vote."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Vote:
    """What one voter says about each pixel. `voter` is its key (see `voter_key`), `expert` the name of who drew it.

    `members` are indices of candidates, ascending; `mask` is boolean (h, w); `score` and `stability` in [0, 1] are
    those of the strongest member.
    """

    expert: str
    voter: str
    members: tuple[int, ...]
    mask: BoolMask
    score: float
    stability: float


def strength(candidate: Candidate) -> float:
    """How much an expert stands behind a candidate, in [0, 1]: its score times its stability."""
    return candidate.mask_score * candidate.stability


def voter_key(candidate: Candidate) -> str:
    """Whose vote a candidate is: its expert's, and for a mask cut from a box that of the pair, `segmenter<grounder`.

    One segmenter behind two grounders has two votes: what it cuts from the boxes of one says nothing about the other.
    """
    mine = expert_key(candidate.made_by)
    return f"{mine}<{candidate.boxed_by}" if candidate.boxed_by else mine


def votes_of(candidates: Sequence[Candidate], size_hw: tuple[int, int]) -> list[Vote]:
    """The votes of the experts among `candidates`, in the order in which each expert first appears.

    The same expert with other options is another expert (`voter_key`).

    Raises:
        ValueError: a candidate's mask is not of `size_hw` pixels.
    """
    by_voter: dict[str, list[int]] = {}
    for index, candidate in enumerate(candidates):
        if candidate.mask.size_hw != size_hw:
            raise ValueError(
                f"candidate {index} by {candidate.made_by.expert!r} has a mask of {candidate.mask.size_hw} (h, w) "
                f"pixels; expected {size_hw}"
            )
        by_voter.setdefault(voter_key(candidate), []).append(index)
    return [_vote(voter, indices, candidates, size_hw) for voter, indices in by_voter.items()]


def _vote(
    voter: str, indices: list[int], candidates: Sequence[Candidate], size_hw: tuple[int, int]
) -> Vote:
    best = max(indices, key=lambda i: (strength(candidates[i]), -i))
    floor = COMPANY * strength(candidates[best])
    members = tuple(i for i in indices if strength(candidates[i]) >= floor)
    mask = np.zeros(size_hw, bool)
    for i in members:
        mask |= candidates[i].mask.array()
    return Vote(
        expert=candidates[best].made_by.expert,
        voter=voter,
        members=members,
        mask=mask,
        score=candidates[best].mask_score,
        stability=candidates[best].stability,
    )
