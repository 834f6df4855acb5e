"""Asking about a scene: propose a meaning for a thing or a group, have the checker prove it, put it into words.

Proposals start from how the scene was made (families, colours, what carries what); whether they are true and
unambiguous for the viewer is the checker's business alone, and what it cannot prove is never asked.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.tabletop.graph import ARM, Thing
from pipeline.tabletop.language import Style, paraphrases
from pipeline.tabletop.query import Kind, Query, Rank, RankKind, Relation, RelationKind, check
from pipeline.tabletop.shapes import BRIGHT, FAMILIES
from pipeline.tabletop.sight import View

Rng = np.random.Generator
Flavour = Literal["attribute", "relation", "rank"]
FLAVOURS: tuple[Flavour, ...] = ("attribute", "relation", "rank")
TRIES = 120
SIDES: tuple[RelationKind, ...] = (
    "left of", "right of", "in front of", "behind", "next to", "left of", "right of",
)  # fmt: skip
RANKS: tuple[RankKind, ...] = (
    "leftmost", "rightmost", "nearest", "farthest", "largest", "smallest", "closest", "closest",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One proven instruction: its meaning, the things it names, and two to four ways to say it."""

    query: Query
    targets: frozenset[int]
    style: Style
    texts: tuple[str, ...]


def ask(
    view: View, *, count: int, no_target: float, rng: Rng, places: bool = True
) -> list[Question]:
    """Up to `count` questions with different meanings; `no_target` is the share that ask for something absent.

    Without `places` things are told by what they are alone: no relation, no rank.
    """
    flavours: tuple[Flavour, ...] = FLAVOURS if places else ("attribute",)
    questions: list[Question] = []
    for _ in range(count):
        style = _style(no_target, rng)
        flavour = flavours[int(rng.choice(3, p=[0.2, 0.5, 0.3])) if places else 0]
        question = _one(view, style, flavour, questions, rng, places=places)
        for spare in flavours:
            question = question or _one(view, "phrase", spare, questions, rng, places=places)
        if question is None:
            break
        questions.append(question)
    return questions


def _style(no_target: float, rng: Rng) -> Style:
    if rng.random() < no_target:
        return "none"
    styles: tuple[Style, ...] = ("phrase", "command", "question", "all")
    return styles[int(rng.choice(4, p=[0.28, 0.3, 0.24, 0.18]))]


def _one(
    view: View, style: Style, flavour: Flavour, known: list[Question], rng: Rng, *, places: bool
) -> Question | None:
    """A proven question of a style; `flavour` tells one thing from its look-alikes (styles all and none ignore it)."""
    for _ in range(TRIES):
        if style == "all":
            query = _group(view, rng, places=places)
        elif style == "none":
            query = _absent(view, rng, places=places)
        else:
            query = _single(view, flavour, rng)
        if query is None or any(question.query == query for question in known):
            continue
        verdict = check(query, view)
        if verdict.doubt or any(q.targets == verdict.targets and q.style == style for q in known):
            continue
        texts = paraphrases(query, style=style, rng=rng, count=int(rng.integers(2, 5)))
        if len(texts) > 1:
            return Question(query=query, targets=verdict.targets, style=style, texts=texts)
    return None


def _single(view: View, flavour: Flavour, rng: Rng) -> Query | None:
    """A description of a random clear thing: by attributes alone, by a relation, or by rank among its like."""
    thing = _clear(view, rng)
    if thing is None:
        return None
    if flavour == "attribute":
        return Query(kind=_kind(thing, rng, words=1.6))
    if flavour == "relation":
        relation = _relation(thing, view, rng)
        kind = _kind(thing, rng, words=0.8, general=0.3)
        if relation is None or (_alone(kind, view) and rng.random() < 0.6):
            return None
        return Query(kind=kind, relation=relation)
    kind = _kind(thing, rng, words=0.5, general=0.15)
    rank = RANKS[int(rng.integers(len(RANKS)))]
    if rank in ("largest", "smallest") and kind.family is None:
        return None
    anchor = _anchor(thing, view, rng) if rank == "closest" else None
    if rank == "closest" and anchor is None:
        return None
    return Query(kind=kind, rank=Rank(kind=rank, anchor=anchor))


def _group(view: View, rng: Rng, *, places: bool) -> Query | None:
    """All the things that share some words with a random one, or that lie in or on the same thing."""
    thing = _clear(view, rng)
    if thing is None:
        return None
    if places and thing.parent is not None and rng.random() < 0.6:
        relation = _relation(thing, view, rng)
        kind = Kind() if rng.random() < 0.6 else _kind(thing, rng, words=0.4)
        return Query(kind=kind, relation=relation, how="all") if relation else None
    if places and rng.random() < 0.2:
        return Query(kind=_kind(thing, rng, words=0.4), relation=_relation(thing, view, rng), how="all")  # fmt: skip
    kind = _kind(thing, rng, words=0.7, general=0.45)
    return Query(kind=kind, how="all") if kind != Kind() else None


def _absent(view: View, rng: Rng, *, places: bool) -> Query | None:
    """Something plausible that is not there: a colour, a family, or a place that does not hold what is asked."""
    names = list(FAMILIES)
    present = sorted({t.family for t in view.things if t.family != ARM})
    draw = rng.random()
    pool = present if draw < 0.6 else names
    family = FAMILIES[pool[int(rng.integers(len(pool)))]]
    colour = BRIGHT[int(rng.integers(len(BRIGHT)))]
    if draw < 0.3 or draw > 0.8:
        if colour not in family.colours:
            return None
        return Query(kind=Kind(family=family.name, colour=colour), how="none")
    if places and draw < 0.6:
        carriers = [
            t for t in view.things if t.family in ("box", "bowl", "tray", "plate", "pan", "book")
        ]
        if not carriers:
            return None
        carrier = carriers[int(rng.integers(len(carriers)))]
        anchor = _naming(carrier, view, rng)
        if anchor is None or carrier.family == family.name:
            return None
        word: RelationKind = "in" if carrier.family in ("box", "bowl", "pan") else "on"
        return Query(
            kind=Kind(family=family.name), relation=Relation(kind=word, anchor=anchor), how="none"
        )
    return Query(kind=Kind(family=family.name), how="none")


def _relation(thing: Thing, view: View, rng: Rng) -> Relation | None:
    """Where a thing is: mostly what carries it, else a side of something else."""
    if thing.parent is not None and thing.held != "table" and rng.random() < 0.8:
        anchor = _naming(view.things[thing.parent], view, rng)
        return Relation(kind=thing.held, anchor=anchor) if anchor else None
    anchor = _anchor(thing, view, rng)
    kind = SIDES[int(rng.integers(len(SIDES)))]
    return Relation(kind=kind, anchor=anchor) if anchor else None


def _anchor(thing: Thing, view: View, rng: Rng) -> Query | None:
    other = _clear(view, rng)
    if other is None or other.index == thing.index:
        return None
    return _naming(other, view, rng)


def _naming(thing: Thing, view: View, rng: Rng) -> Query | None:
    """The shortest proven name of a thing by its attributes, now and then a word longer than needed."""
    plain = Kind(family=thing.family)
    painted = Kind(family=thing.family, colour=thing.colour)
    if thing.finish != "painted":
        painted = Kind(family=thing.family, finish=thing.finish)
    names = [plain, painted, Kind(family=thing.family, colour=thing.colour, pattern=thing.pattern)]
    for kind in names[int(rng.random() < 0.35) :]:
        query = Query(kind=kind)
        if not check(query, view).doubt:
            return query
    return None


def _kind(thing: Thing, rng: Rng, *, words: float, general: float = 0.12) -> Kind:
    """Some of a thing's attributes, about `words` of them; `general` is the chance to leave out what it is."""
    family = None if rng.random() < general else thing.family
    colour = finish = pattern = None
    if rng.random() < words * 0.6:
        if thing.finish == "painted":
            colour = thing.colour
        else:
            finish = thing.finish
    if thing.pattern != "plain" and rng.random() < words * 0.5:
        pattern = thing.pattern
    return Kind(family=family, colour=colour, finish=finish, pattern=pattern)


def _alone(kind: Kind, view: View) -> bool:
    return not check(Query(kind=kind), view).doubt


def _clear(view: View, rng: Rng) -> Thing | None:
    things = [t for t in view.things if view.sights[t.index].clear and t.family != ARM]
    return things[int(rng.integers(len(things)))] if things else None
