"""Replies of chat models to typed records: the bounds that a JSON schema cannot hold a model to. Pure.

A reply is taken whole or refused whole: every field is there and no other, every value is in range. A box that leaves
the picture by a rounding is clipped; one that leaves it by more is a box of something else. Texts keep what is visible:
runs of white space become one space, and text with control or hidden characters is refused, so that nothing a model
writes can move a terminal's cursor or turn a line around. Whether the words are true, no parser knows.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from annotators.boxes import Box
from annotators.chat.json_reader import UnreadableReply, read_object
from annotators.chat.prompts import HIDDEN
from annotators.protocols import Verdict

LONGEST_PHRASE = 200
"""Characters of a phrase or relation."""
LONGEST_INSTRUCTION = 500
"""Characters of an instruction made for a target."""
LARGEST_COUNT = 1000
SLACK = 0.02
"""How far, as a share of the picture, a coordinate may leave it and still be meant to lie on its edge."""
JOINERS = frozenset("\u200c\u200d")
"""Hidden characters that spelling needs: Persian and Indic words, emoji."""
Kind = Literal["question", "command", "complex"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What an instruction is about. `phrases` is empty only where the target is absent; `count` 0 is not known."""

    present: bool
    phrases: tuple[str, ...]
    count: int
    relation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """An instruction made for a known target."""

    kind: Kind
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A box (x1, y1, x2, y2) in fractions of the picture that was shown, inside it; `score` in [0, 1]."""

    box: Box
    score: float


def read_target(reply: str, *, most: int = 3) -> Target:
    """The answer to `SIMPLIFY`, with at most `most` phrases.

    Raises:
        UnreadableReply: says what is wrong.
    """
    fields = _fields(read_object(reply), "target", "phrases", "count", "relation")
    state = _choice(fields["target"], "target", ("present", "absent"))
    texts = [
        _text(item, "phrase", LONGEST_PHRASE) for item in _items(fields["phrases"], "phrases", most)
    ]
    if state == "present" and not texts:
        raise UnreadableReply("target is present and has no phrase; expected at least one")
    count = fields["count"]
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= LARGEST_COUNT:
        raise UnreadableReply(
            f"count is {_show(count)}; expected a whole number, 0 to {LARGEST_COUNT}"
        )
    relation = _text(fields["relation"], "relation", LONGEST_PHRASE, empty=True)
    different = {text.casefold(): text for text in reversed(texts)}
    return Target(
        present=state == "present",
        phrases=tuple(text for text in texts if different.pop(text.casefold(), None) is not None),
        count=count,
        relation=relation,
    )


def read_instructions(reply: str, *, most: int) -> tuple[Made, ...]:
    """The answer to `ENRICH`: one to `most` instructions.

    Raises:
        UnreadableReply: says what is wrong.
    """
    items = _items(
        _fields(read_object(reply), "instructions")["instructions"], "instructions", most
    )
    if not items:
        raise UnreadableReply("reply holds no instruction; expected at least one")
    made: list[Made] = []
    for item in items:
        fields = _fields(item, "kind", "text")
        kind: Any = _choice(fields["kind"], "kind", get_args(Kind))
        text = _text(fields["text"], "instruction", LONGEST_INSTRUCTION)
        made.append(Made(kind=kind, text=text))
    return tuple(made)


def read_boxes(reply: str, *, most: int, grid: int = 1) -> tuple[Found, ...]:
    """The answer to `BOX` with coordinates from 0 to `grid`: none to `most` boxes.

    Raises:
        UnreadableReply: says what is wrong.
    """
    items = _items(_fields(read_object(reply), "boxes")["boxes"], "boxes", most)
    return tuple(_found(_fields(item, "box", "score"), grid) for item in items)


def read_verdict(reply: str) -> Verdict:
    """The answer to `VERIFY`.

    Raises:
        UnreadableReply: says what is wrong.
    """
    fields = _fields(read_object(reply), "validity", "exhaustivity")
    return Verdict(
        validity=_unit(fields["validity"], "validity"),
        exhaustivity=_unit(fields["exhaustivity"], "exhaustivity"),
    )


def _found(fields: Mapping[str, Any], grid: int) -> Found:
    values = fields["box"]
    if not isinstance(values, list) or len(values) != 4:
        raise UnreadableReply(f"box is {_show(values)}; expected [left, top, right, bottom]")
    shares = [_number(value, "coordinate") / grid for value in values]
    if not all(-SLACK <= share <= 1 + SLACK for share in shares):
        raise UnreadableReply(f"box {_show(values)} leaves the picture; expected 0 to {grid}")
    x1, y1, x2, y2 = (min(max(share, 0.0), 1.0) for share in shares)
    if x2 <= x1 or y2 <= y1:
        raise UnreadableReply(
            f"box {_show(values)} is empty; expected left < right and top < bottom"
        )
    return Found(box=(x1, y1, x2, y2), score=_unit(fields["score"], "score"))


def _fields(value: Any, *names: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise UnreadableReply(f"{_show(value)} stands where an object with {names} is expected")
    if missing := [name for name in names if name not in value]:
        raise UnreadableReply(f"reply lacks {missing}; expected {names}")
    if more := [name for name in value if name not in names]:
        raise UnreadableReply(f"reply has {_show(more)} beside {names}")
    return value


def _items(value: Any, what: str, most: int) -> Sequence[Any]:
    if not isinstance(value, list):
        raise UnreadableReply(f"{what} is {_show(value)}; expected a list")
    if len(value) > most:
        raise UnreadableReply(f"{len(value)} {what}; expected at most {most}")
    return value


def _choice(value: Any, what: str, known: Sequence[str]) -> str:
    if not isinstance(value, str) or value not in known:
        raise UnreadableReply(f"{what} is {_show(value)}; expected one of {tuple(known)}")
    return value


def _text(value: Any, what: str, longest: int, *, empty: bool = False) -> str:
    if not isinstance(value, str):
        raise UnreadableReply(f"{what} is {_show(value)}; expected text")
    text = " ".join(value.split())
    if not text and not empty:
        raise UnreadableReply(f"{what} is empty")
    if len(text) > longest:
        raise UnreadableReply(f"{what} of {len(text)} characters; expected at most {longest}")
    for char in text:
        if char not in JOINERS and unicodedata.category(char) in HIDDEN:
            raise UnreadableReply(f"{what} holds the hidden character U+{ord(char):04X}")
    if text and not any(char.isalnum() for char in text):
        raise UnreadableReply(f"{what} is {_show(text)}; expected words")
    return text


def _unit(value: Any, what: str) -> float:
    number = _number(value, what)
    if not 0.0 <= number <= 1.0:
        raise UnreadableReply(f"{what} is {_show(value)}; expected a number from 0 to 1")
    return number


def _number(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnreadableReply(f"{what} is {_show(value)}; expected a number")
    return float(value)


def _show(value: Any) -> str:
    """A short look at a value of a reply; repr makes hidden characters visible."""
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
