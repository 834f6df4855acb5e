"""The meaning of an instruction as a small tree, and the checker that proves which things it names.

The checker knows nothing of how an instruction was made. It reads the tree against the view in three-valued logic
(Kleene): a thing fits, does not fit, or might to a sensible person, because it is half hidden, close in colour or
hardly further left. A meaning is proven only when no thing is in doubt.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.tabletop.graph import ARM, Thing
from pipeline.tabletop.sight import View

YES, MAYBE, NO = 1, 0, -1

RelationKind = Literal["left of", "right of", "in front of", "behind", "on", "in", "next to"]
RankKind = Literal["leftmost", "rightmost", "nearest", "farthest", "largest", "smallest", "closest"]
How = Literal["one", "all", "none"]

CLOSE_COLOURS = (
    {"red", "orange"}, {"orange", "yellow"}, {"red", "pink"}, {"purple", "pink"}, {"purple", "blue"},
    {"white", "silver"}, {"orange", "brown"}, {"black", "silver"},
)  # fmt: skip
"""Pairs that light or shade can make a person doubt."""
CLOSE_FAMILIES = ({"vase", "bottle"},)
CLOSE_FINISHES = ({"wooden", "cardboard"},)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What sort of thing: every given word must hold; family None is any object."""

    family: str | None = None
    colour: str | None = None
    finish: str | None = None
    pattern: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """Where it is, seen by the viewer, relative to the one thing that `anchor` names."""

    kind: RelationKind
    anchor: "Query"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rank:
    """Which of several it is; `anchor` only for "closest" (to it)."""

    kind: RankKind
    anchor: "Query | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """The things of `kind` that stand in `relation`, of those the one of `rank`; `how` many are claimed to exist."""

    kind: Kind
    relation: Relation | None = None
    rank: Rank | None = None
    how: How = "one"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`targets` are the indices of the things named. `doubt` is empty when that is proven, else says why not."""

    targets: frozenset[int] = frozenset()
    doubt: str = ""


def check(query: Query, view: View) -> Verdict:
    """Prove what a query names in a view, or say why it cannot be proven."""
    if query.rank is not None and query.how != "one":
        return Verdict(doubt=f"a rank names one thing, {query.how} claimed")
    anchors: list[int | None] = []
    for part in (query.relation, query.rank):
        if part is None or part.anchor is None:
            anchors.append(None)
            continue
        found = check(part.anchor, view)
        if found.doubt or part.anchor.how != "one":
            return Verdict(doubt=f"anchor of {part.kind!r}: {found.doubt or 'not one thing'}")
        anchors.append(next(iter(found.targets)))
    related, ranked = anchors
    fits = [_fits(query, thing, view, related, ranked) for thing in view.things]
    if MAYBE in fits:
        unsure = [t for t, fit in zip(view.things, fits, strict=True) if fit == MAYBE]
        return Verdict(doubt="in doubt: " + ", ".join(f"{t.colour} {t.family}" for t in unsure))
    matched = [index for index, fit in enumerate(fits) if fit == YES]
    if query.rank is not None:
        return _ranked(query.rank, matched, view, ranked)
    return _counted(query.how, matched)


def _counted(how: How, matched: list[int]) -> Verdict:
    right = {"one": len(matched) == 1, "all": len(matched) > 1, "none": not matched}[how]
    if not right:
        return Verdict(doubt=f"{len(matched)} things fit, {how} claimed")
    return Verdict(targets=frozenset(matched))


def _fits(query: Query, thing: Thing, view: View, related: int | None, ranked: int | None) -> int:
    """How far a thing fits kind and relation; `related` and `ranked` are the anchors of relation and rank."""
    value = _of_kind(query.kind, thing)
    if query.relation is not None:
        assert related is not None
        value = min(value, _related(query.relation.kind, thing.index, related, view))
    if ranked == thing.index:
        value = NO
    return value if value == NO or view.sights[thing.index].clear else MAYBE


def _of_kind(kind: Kind, thing: Thing) -> int:
    value = YES
    if kind.family is None:
        value = MAYBE if thing.family == ARM else YES
    elif kind.family != thing.family:
        value = MAYBE if {kind.family, thing.family} in CLOSE_FAMILIES else NO
    if kind.colour is not None and kind.colour != thing.colour:
        close = {kind.colour, thing.colour} in CLOSE_COLOURS
        two = thing.pattern != "plain" and kind.colour == "white"
        value = min(value, MAYBE if close or two else NO)
    if kind.finish is not None and kind.finish != thing.finish:
        close = {kind.finish, thing.finish} in CLOSE_FINISHES
        tin = kind.finish == "metal" and thing.family in ("can", "pan")
        value = min(value, MAYBE if close or tin else NO)
    if kind.pattern is not None and kind.pattern != thing.pattern:
        value = min(value, NO)
    return value


def _related(kind: RelationKind, i: int, anchor: int, view: View) -> int:
    if i == anchor:
        return NO
    if kind in ("on", "in"):
        return _carried(kind, i, anchor, view)
    if _carries(i, anchor, view) or _carries(anchor, i, view):
        return MAYBE
    if kind == "next to":
        return _beside(i, anchor, view)
    if kind in ("left of", "right of"):
        return _sideways(i, anchor, view, sign=1 if kind == "right of" else -1)
    return _deeper(i, anchor, view, sign=1 if kind == "behind" else -1)


def _carried(kind: str, i: int, anchor: int, view: View) -> int:
    thing = view.things[i]
    if thing.parent == anchor:
        return YES if thing.held == kind else MAYBE
    return MAYBE if _carries(anchor, i, view) else NO


def _carries(lower: int, upper: int, view: View) -> bool:
    """Whether `upper` lies in or on `lower`, directly or on something between."""
    parent = view.things[upper].parent
    while parent is not None:
        if parent == lower:
            return True
        parent = view.things[parent].parent
    return False


def _sideways(i: int, anchor: int, view: View, *, sign: int) -> int:
    """Right of (sign 1) or left of (-1) in the picture: boxes apart, and more sideways than up or down."""
    a, b = view.sights[i], view.sights[anchor]
    dx, dy = sign * (a.centre[0] - b.centre[0]), abs(a.centre[1] - b.centre[1])
    if dx <= 0:
        return NO
    overlap = min(a.box[2], b.box[2]) - max(a.box[0], b.box[0])
    narrow = min(a.box[2] - a.box[0], b.box[2] - b.box[0])
    apart = overlap <= 0.1 * narrow and dx > 0.03 * view.size_hw[1]
    return YES if apart and dx > 1.1 * dy else MAYBE


def _deeper(i: int, anchor: int, view: View, *, sign: int) -> int:
    """Behind (sign 1) or in front of (-1) on the table: footprints apart in depth, and not mostly beside."""
    depth = sign * (view.away[i] - view.away[anchor])
    beside = abs(view.across[i] - view.across[anchor])
    if depth <= 0 or beside > 3 * depth:
        return NO
    reach = 0.6 * (view.things[i].radius + view.things[anchor].radius)
    return YES if depth > max(reach, 0.045) and beside < 0.75 * depth else MAYBE


def _beside(i: int, anchor: int, view: View) -> int:
    """Next to: hardly a hand's width between footprints on the same floor."""
    a, b = view.things[i], view.things[anchor]
    gap = _distance(i, anchor, view) - a.radius - b.radius
    if gap > 0.11:
        return NO
    return YES if gap < 0.03 and a.parent == b.parent else MAYBE


def _distance(i: int, j: int, view: View) -> float:
    return float(np.linalg.norm(np.subtract(view.things[i].base, view.things[j].base)))


def _ranked(rank: Rank, matched: list[int], view: View, anchor: int | None) -> Verdict:
    """The first of `matched` by rank, when it leads the second by a margin that a person would see."""
    if len(matched) < 2:
        return Verdict(doubt=f"{len(matched)} things fit, a rank needs two")
    if rank.kind == "closest":
        assert anchor is not None
        if any(_carries(i, anchor, view) or _carries(anchor, i, view) for i in matched):
            return Verdict(doubt="closest to something that carries or is carried")
        score = {i: -_distance(i, anchor, view) for i in matched}
        margin = 0.03 + 0.3 * -max(score.values())
    elif rank.kind in ("leftmost", "rightmost"):
        sign = 1 if rank.kind == "rightmost" else -1
        score = {i: sign * view.sights[i].centre[0] for i in matched}
        margin = 0.06 * view.size_hw[1]
    elif rank.kind in ("nearest", "farthest"):
        sign = 1 if rank.kind == "farthest" else -1
        score = {i: sign * view.away[i] for i in matched}
        margin = 0.07
    else:
        return _sized(rank.kind, matched, view)
    first, second = sorted(matched, key=lambda i: score[i], reverse=True)[:2]
    if score[first] - score[second] < margin:
        return Verdict(doubt=f"{rank.kind}: two are too close to call")
    return Verdict(targets=frozenset([first]))


def _sized(kind: str, matched: list[int], view: View) -> Verdict:
    """Largest or smallest: by a fifth in the world, and it must look so in the picture as well."""
    sign = 1 if kind == "largest" else -1
    order = sorted(matched, key=lambda i: sign * view.things[i].extent, reverse=True)
    first = order[0]
    for other in order[1:]:
        real = sign * np.log(view.things[first].extent / view.things[other].extent)
        seen = sign * np.log(view.sights[first].whole / max(view.sights[other].whole, 1))
        if real < np.log(1.2) or seen < np.log(1.15):
            return Verdict(doubt=f"{kind}: two are too close to call")
    return Verdict(targets=frozenset([first]))
