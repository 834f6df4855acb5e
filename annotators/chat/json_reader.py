"""The one JSON object in what a chat model wrote. Pure, linear in the length of the text, and strict where it counts.

Forgiven: prose and code fences around the object, a thinking part before it, commas before a closing bracket, and the
closing brace left out at the very end of the text, where only one completion is possible (a text that ends in a digit
may have lost more digits, and is refused). Not forgiven: two different objects, a name twice, NaN, infinity, numbers
beyond a double, deep nesting, and everything that needs a guess.
"""

import json
import math
from collections.abc import Sequence
from typing import Any, NoReturn

LONGEST = 20_000
"""Characters of a reply that are looked at; a longer one is refused."""
DEEPEST = 8
"""Brackets inside brackets."""
SAID = 200
"""Characters of an error message."""
CLOSES = {"{": "}", "[": "]"}


class UnreadableReply(ValueError):
    """A reply that cannot be used; the message says what is wrong with it, in `SAID` visible characters at most."""

    def __init__(self, message: str) -> None:
        seen = "".join(char if char.isprintable() else "?" for char in message)
        super().__init__(seen[:SAID])


def read_object(text: str) -> dict[str, Any]:
    """The one JSON object in `text`.

    Raises:
        UnreadableReply: there is none, it is damaged, or there are several that differ.
    """
    if len(text) > LONGEST:
        raise UnreadableReply(f"reply of {len(text)} characters; expected at most {LONGEST}")
    text = text.rpartition("</think>")[2]
    if "<think>" in text:
        raise UnreadableReply("reply ends inside its thinking; what stands there is no answer yet")
    first: dict[str, Any] | None = None
    start = text.find("{")
    while start >= 0:
        end, missing = _span(text, start)
        if missing and first is not None:
            break  # an object, and the beginning of something else
        found = _parse(text[start:end] + missing)
        if isinstance(found, dict):
            if first is not None and found != first:
                raise UnreadableReply("reply holds two JSON objects that differ; expected one")
            first = found
        elif missing:
            raise UnreadableReply(f"reply's JSON is damaged: {found}")
        start = text.find("{", end)
    if first is None:
        said = f"{text.strip()[:60]!r}" if text.strip() else "nothing"
        raise UnreadableReply(f"reply holds no JSON object: {said}")
    return first


def _span(text: str, start: int) -> tuple[int, str]:
    """Where the brace at `start` closes (one behind it), and the brace to add when the text ends before that.

    Raises:
        UnreadableReply: brackets close in the wrong order or nest too deeply, or more than one brace is missing.
    """
    stack: list[str] = []
    quoted = escaped = False
    for at in range(start, len(text)):
        char = text[at]
        if quoted:
            quoted = escaped or char != '"'
            escaped = char == "\\" and not escaped
        elif char == '"':
            quoted = True
        elif char in CLOSES:
            stack.append(char)
            if len(stack) > DEEPEST:
                raise UnreadableReply(f"reply nests more than {DEEPEST} brackets")
        elif char in "}]":
            if CLOSES[stack.pop()] != char:
                raise UnreadableReply(f"reply's JSON is damaged: {char!r} closes nothing")
            if not stack:
                return at + 1, ""
    last = text.rstrip().removesuffix("```").rstrip()
    if quoted or stack != ["{"] or last[-1] not in '"]}':
        raise UnreadableReply("reply ends inside its JSON object; it was cut off")
    return len(last), "}"


def _parse(text: str) -> dict[str, Any] | str:
    """The object, or what is wrong with it.

    Raises:
        UnreadableReply: it is JSON, with a value that no reply may hold.
    """
    try:
        return json.loads(
            _without_trailing_commas(text),
            object_pairs_hook=_once,
            parse_constant=_refuse,
            parse_float=_finite,
            parse_int=_short,
        )
    except UnreadableReply:
        raise
    except ValueError as error:
        return str(error)


def _without_trailing_commas(text: str) -> str:
    kept: list[str] = []
    quoted = escaped = False
    for char in text:
        if quoted:
            quoted = escaped or char != '"'
            escaped = char == "\\" and not escaped
        elif char == '"':
            quoted = True
        elif char in "}]":
            last = len(kept) - 1
            while last >= 0 and kept[last].isspace():
                last -= 1
            before = last - 1
            while before >= 0 and kept[before].isspace():
                before -= 1
            if kept[last] == "," and before >= 0 and kept[before] not in "{[,":
                kept[last] = " "
        kept.append(char)
    return "".join(kept)


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise UnreadableReply("reply's JSON object has a name twice")
    return found


def _refuse(text: str) -> NoReturn:
    raise UnreadableReply(f"reply holds {text}; expected finite numbers")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise UnreadableReply(f"reply holds the number {text[:40]}; expected finite numbers")
    return value


def _short(text: str) -> int:
    if len(text) > 18:
        raise UnreadableReply(f"reply holds a whole number of {len(text)} digits")
    return int(text)
