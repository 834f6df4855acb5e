"""Instructions at the edge: text from anywhere becomes phrasings that every later step can hold, or is refused.

Any script passes untouched: no case folding, no normalisation, no stripping of marks or joiners. Only white space is
tidied (ends stripped, tabs and line breaks to one space). What no tokenizer, file or page can carry is refused.
"""

import unicodedata
from collections.abc import Sequence
from typing import Any

from pipeline.intake.refusal import Refused

MAX_CHARACTERS = 2000


def clean_instructions(texts: Sequence[Any]) -> tuple[str, ...]:
    """The phrasings of one instruction, each tidied, in the order given.

    Raises:
        Refused: instruction-missing (no phrasing at all), instruction-empty (one without a visible character),
            instruction-too-long (over MAX_CHARACTERS), instruction-not-text (no string, a control character such as
            NUL, or half of a surrogate pair).
    """
    if not texts:
        raise Refused("instruction-missing", "no instruction is given")
    return tuple(_clean(text) for text in texts)


def _clean(text: Any) -> str:
    if not isinstance(text, str):
        raise Refused("instruction-not-text", f"{text!r} is {type(text).__name__}; expected text")
    if len(text) > MAX_CHARACTERS:
        raise Refused(
            "instruction-too-long",
            f"{len(text)} characters; at most {MAX_CHARACTERS}: {text[:60]!r}...",
        )
    tidy = "".join(" " if character in "\t\n\r\v\f" else character for character in text).strip()
    kinds = {unicodedata.category(character) for character in tidy}
    if kinds & {"Cc", "Cs"}:
        raise Refused(
            "instruction-not-text", f"{tidy[:60]!r} holds a control character or half a character"
        )
    if kinds <= {"Cf", "Zs", "Zl", "Zp", "Mn", "Me"}:
        raise Refused("instruction-empty", f"{text[:60]!r} shows nothing")
    return tidy
