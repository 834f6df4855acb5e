"""The grammar: from a query to words, in several phrasings that mean the same.

A noun phrase is (determiner) (rank) (pattern) (colour or material) noun (relation + anchor), and a *style* puts it
into a sentence. Which paraphrases are drawn comes from the generator passed in; what they mean does not.
"""

from dataclasses import replace
from typing import Literal

import numpy as np

from pipeline.tabletop.query import Kind, Query, Rank, Relation
from pipeline.tabletop.shapes import FAMILIES

Rng = np.random.Generator
Style = Literal["phrase", "command", "question", "all", "none"]
STYLES: tuple[Style, ...] = ("phrase", "command", "question", "all", "none")

RELATION_WORDS: dict[str, tuple[str, ...]] = {
    "left of": ("left of", "to the left of", "on the left of"),
    "right of": ("right of", "to the right of", "on the right of"),
    "in front of": ("in front of",),
    "behind": ("behind",),
    "on": ("on", "on top of"),
    "in": ("in", "inside"),
    "next to": ("next to", "beside", "right next to"),
}
"""Relation -> its wordings; also true after "is"."""

RANK_BEFORE: dict[str, tuple[str, ...]] = {
    "leftmost": ("leftmost",),
    "rightmost": ("rightmost",),
    "nearest": ("nearest", "closest"),
    "farthest": ("farthest",),
    "largest": ("largest", "biggest"),
    "smallest": ("smallest",),
}
"""Rank -> adjectives before the noun."""

RANK_AFTER: dict[str, tuple[str, ...]] = {
    "leftmost": ("farthest to the left",),
    "rightmost": ("farthest to the right",),
    "nearest": ("closest to the camera", "nearest to the camera"),
    "farthest": ("farthest from the camera", "farthest away from the camera"),
    "closest": ("closest to", "nearest to"),
}
"""Rank -> wordings after the noun; those of "closest" go on with an anchor."""

SENTENCES: dict[str, tuple[str, ...]] = {
    "phrase": ("{the}", "{bare}", "{the}"),
    "command": (
        "Pick up {the}.", "Grab {the}.", "Hand me {the}, please.", "Please point at {the}.", "Bring me {the}.",
        "Move the gripper to {the}.", "Take {the}.", "Segment {the}.", "I need {the}.", "Touch {the}.",
    ),
    "question": (
        "Where is {the}?", "Can you find {the}?", "Do you see {the}?", "Can you show me {the}?",
        "Could you point out {the}?",
    ),
    "all": (
        "all {plural}", "every {singular}", "each {singular}", "all of the {plural}", "Pick up all the {plural}.",
        "Where are the {plural}?", "Find every {singular}.", "Select all {plural}.", "Show me all the {plural}.",
    ),
}  # fmt: skip
"""Style -> sentence patterns. `the`: definite noun phrase; `bare`: without determiner."""

WHICH = ("Which {head} is {where}?", "Which one is {the}?")
EVERYTHING = ("everything {where}", "Take everything {where}.", "What are the things {where}?")


def paraphrases(query: Query, *, style: Style, rng: Rng, count: int) -> tuple[str, ...]:
    """Up to `count` different ways to say a query in a style ("none" borrows from the styles that name one thing).

    Fewer come back when the grammar has no more; never none.
    """
    out: dict[str, None] = {}
    for _ in range(8 * count):
        out[_sentence(query, style, rng)] = None
        if len(out) == count:
            break
    return tuple(out)


def noun(kind: Kind, *, plural: bool = False, general: str = "object") -> str:
    """A kind in words without determiner: "red striped mug", "plain metal balls"; `general` names any object."""
    one, many = general, general + "s"
    if kind.family is not None:
        one, many = kind.family, FAMILIES[kind.family].plural
    words = [kind.colour, kind.pattern, kind.finish]
    if kind.pattern == "plain":
        words = [kind.pattern, kind.colour, kind.finish]
    return " ".join([*(word for word in words if word), many if plural else one])


def _sentence(query: Query, style: Style, rng: Rng) -> str:
    if style == "none":
        style = ("phrase", "command", "question")[int(rng.integers(3))]
    general = ("object", "item")[int(rng.integers(2))]
    if style == "all":
        where = _relation(query.relation, rng)
        if query.kind == Kind() and where and rng.random() < 0.5:
            return _pick(EVERYTHING, rng).format(where=where)
        tail = f" {where}" if where else ""
        return _pick(SENTENCES["all"], rng).format(
            plural=noun(query.kind, plural=True, general=general) + tail,
            singular=noun(query.kind, general=general) + tail,
        )
    if style == "question" and rng.random() < 0.4:
        asked = _which(query, rng)
        if asked is not None:
            return asked
    bare = _noun_phrase(query, general, rng)
    return _pick(SENTENCES[style], rng).format(the=f"the {bare}", bare=bare)


def _which(query: Query, rng: Rng) -> str | None:
    """A question that asks for the thing by where it is; None when the query says nothing about that."""
    if query.relation is not None and query.rank is None:
        where = _relation(query.relation, rng)
        if query.kind.family is None and query.relation.kind in ("on", "in"):
            what = "What" if query.kind == Kind() else f"Which {noun(query.kind)}"
            return f"{what} is {where}?"
        return f"Which {noun(query.kind)} is {where}?"
    if query.rank is not None and query.relation is None and query.rank.kind in RANK_AFTER:
        return f"Which {noun(query.kind)} is {_rank_after(query.rank, rng)}?"
    return None


def _noun_phrase(query: Query, general: str, rng: Rng) -> str:
    words = [noun(query.kind, general=general)]
    if query.rank is not None:
        before = RANK_BEFORE.get(query.rank.kind)
        if before and (query.rank.kind not in RANK_AFTER or query.relation or rng.random() < 0.6):
            words.insert(0, _pick(before, rng))
        else:
            words.append(_rank_after(query.rank, rng))
    if query.relation is not None:
        words.append(_relation(query.relation, rng))
    return " ".join(words)


def _relation(relation: Relation | None, rng: Rng) -> str:
    if relation is None:
        return ""
    anchor = _noun_phrase(replace(relation.anchor, how="one"), "object", rng)
    return f"{_pick(RELATION_WORDS[relation.kind], rng)} the {anchor}"


def _rank_after(rank: Rank, rng: Rng) -> str:
    words = _pick(RANK_AFTER[rank.kind], rng)
    if rank.anchor is None:
        return words
    return f"{words} the {_noun_phrase(rank.anchor, 'object', rng)}"


def _pick(options: tuple[str, ...], rng: Rng) -> str:
    return options[int(rng.integers(len(options)))]
