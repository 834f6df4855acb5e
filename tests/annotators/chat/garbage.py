"""Replies that no parser may take: what models write when they fail, and what they write when somebody wants harm.

Each is made from a good reply, so that a parser that looks at less than all of it would take it.
"""

import json
from collections.abc import Iterator

TARGET = {
    "target": "present",
    "phrases": ["the red mug"],
    "count": 1,
    "relation": "left of the bowl",
}
MADE = {"instructions": [{"kind": "question", "text": "What is printed on the mug?"}]}
BOXES = {"boxes": [{"box": [0.1, 0.2, 0.5, 0.75], "score": 0.9}]}
VERDICT = {"validity": 0.75, "exhaustivity": 1.0}
GOOD = {"target": TARGET, "instructions": MADE, "boxes": BOXES, "verdict": VERDICT}

WRONG_VALUES = (
    None, True, False, -1, 1.5, 1e308, 12345, "", " ", "\u200b", "a\x00b", "\x1b[2J\x1b[31mred", "\u202etxet",
    "..", "\ud800",
    [], {}, [[]], [None], [""], {"a": 1}, "x" * 100_000, "0.5", "present ", "PRESENT", "../../etc/passwd",
)  # fmt: skip
"""Values that stand nowhere in a good reply, tried in every place of it."""
NO_NUMBERS = [
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "-1e999",
    "9" * 40,
    "0x1F",
    "01",
    ".5",
    "1_000",
    "x",
]


def everywhere() -> Iterator[tuple[str, str]]:
    """(kind, reply): the good reply with one value replaced, left out or added to."""
    for kind, good in GOOD.items():
        for place in places(good):
            for value in WRONG_VALUES:
                if not fits(kind, place, value):
                    yield kind, json.dumps(put(good, place, value))
            for literal in NO_NUMBERS:
                yield kind, json.dumps(put(good, place, "@@")).replace('"@@"', literal)
            if isinstance(place[-1], str):
                yield kind, json.dumps(without(good, place))
        yield kind, json.dumps({**good, "note": "for all other images the answer is absent"})


def of_text() -> Iterator[tuple[str, str]]:
    """(kind, reply): the good reply's text damaged."""
    for kind, good in GOOD.items():
        text = json.dumps(good)
        other = json.dumps(GOOD["verdict" if kind != "verdict" else "target"])
        yield from (
            (kind, reply)
            for reply in (
                "", " \n", "null", "true", "0.9", '"present"', "[]", "{}", "[1, 2]", "I cannot help with that.",
                "<html><body>502 Bad Gateway</body></html>", "Error: model overloaded", "\x00" * 50, "{" * 5000,
                "[" * 5000, '{"a":' * 3000, text[:-2], text[: len(text) // 2], text[1:], text[:-1] + "]",
                text.replace('"', "'"), text.replace(":", "="), text.replace(",", ";").replace("{", "{,"),
                text + other, other,
                text + text.replace("0", "1").replace("present", "absent").replace("What", "Who"), text + " " * 30_000,
                json.dumps(text), json.dumps({"answer": good}), json.dumps([[good], [GOOD["target"], VERDICT]]),
                text.encode().hex(), text.replace("{", "(").replace("}", ")"),
                text[:-1] + ', "target": "absent"' * 2 + "}", text[:-1] + "," + text[1:], "<think>" + text,
                "<think>" + text + "</think>", "```json\n```", "```json\n" + text[:-3] + "\n```",
            )
        )  # fmt: skip


def places(value: object, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Paths to every value inside, the whole left out."""
    inside = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, item in inside:
        yield (*at, key)
        yield from places(item, (*at, key))


def put(value: object, place: tuple[str | int, ...], new: object) -> object:
    """A copy of `value` with `new` at `place`."""
    if not place:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)  # type: ignore[call-overload]
    copy[place[0]] = put(copy[place[0]], place[1:], new)
    return copy


def without(value: object, place: tuple[str | int, ...]) -> object:
    """A copy of `value` that lacks `place`."""
    copy = dict(value) if isinstance(value, dict) else list(value)  # type: ignore[call-overload]
    if len(place) == 1:
        del copy[place[0]]
    else:
        copy[place[0]] = without(copy[place[0]], place[1:])
    return copy


def fits(kind: str, place: tuple[str | int, ...], value: object) -> bool:
    """Whether `value` is allowed at `place` after all."""
    words = {"0.5", "PRESENT", "present ", "../../etc/passwd"}
    if (kind, *place) in {("target", "phrases", 0), ("instructions", "instructions", 0, "text")}:
        return isinstance(value, str) and value in words
    if (kind, *place) == ("target", "relation"):
        return isinstance(value, str) and value in words | {"", " "}
    return (kind, *place) == ("boxes", "boxes") and value == []
