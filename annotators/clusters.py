"""Candidates that mean the same thing, gathered: one cluster per instance, for instructions that mean several.

A union of everything an expert finds is compared with the union of everything another finds by `vote`; when two experts
find three mugs and each also finds something else, instances are what they agree on. Candidates are taken strongest
first and join the cluster whose leader (its strongest candidate) they overlap most, from an IoU of `SAME` on, as greedy
non-maximum suppression does, but what is suppressed there votes here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from annotators.candidate import Candidate
from annotators.masks import BoolMask
from annotators.votes import strength, voter_key

SAME = 0.5
"""Mask IoU with its leader from which a candidate belongs to a cluster."""
MAJORITY = 0.5
"""Share of a cluster's experts (by trust) that must mark a pixel of its mask."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cluster:
    """One instance. `members` are indices of candidates, ascending, `support` in [0, 1] the share of trust in it.

    `mask` is boolean (h, w): the pixels that `MAJORITY` of the experts in the cluster mark.
    """

    members: tuple[int, ...]
    support: float
    mask: BoolMask


def clusters_of(
    candidates: Sequence[Candidate], trust: Mapping[str, float], *, same: float = SAME
) -> list[Cluster]:
    """Clusters of the candidates that mark anything, that with the strongest leader first.

    Args:
        candidates: masks of one size by any experts, for one target.
        trust: voter key (`annotators.votes.voter_key`) -> weight of its voice, for every voter among the candidates.
        same: see `SAME`.
    """
    order = sorted(range(len(candidates)), key=lambda i: (-strength(candidates[i]), i))
    gathered: list[list[int]] = []
    for i in order:
        if candidates[i].mask.area() == 0:
            continue
        overlaps = [candidates[i].mask.iou(candidates[mine[0]].mask) for mine in gathered]
        nearest = int(np.argmax(overlaps)) if overlaps else 0
        if overlaps and overlaps[nearest] >= same:
            gathered[nearest].append(i)
        else:
            gathered.append([i])
    total = sum(trust[voter] for voter in dict.fromkeys(voter_key(c) for c in candidates))
    return [_cluster(mine, candidates, trust, total) for mine in gathered]


def _cluster(
    mine: Sequence[int],
    candidates: Sequence[Candidate],
    trust: Mapping[str, float],
    total: float,
) -> Cluster:
    masks: dict[str, BoolMask] = {}
    for i in mine:
        voter, mask = voter_key(candidates[i]), candidates[i].mask.array()
        masks[voter] = masks[voter] | mask if voter in masks else mask
    weight = sum(trust[voter] for voter in masks)
    marked: NDArray[np.float64] = np.zeros(next(iter(masks.values())).shape)
    for voter, mask in masks.items():
        marked += trust[voter] / weight * mask
    return Cluster(
        members=tuple(sorted(mine)), support=weight / total, mask=marked >= MAJORITY - 1e-9
    )
