"""What becomes of a phrase on its way to a tokenizer, so that no text can fail a batch.

Phrases come from people and language models: they hold anything. A tokenizer of the *tokenizers* library raises on
half a surrogate pair, takes `<image>` or `<|endoftext|>` in a text for its own mark, and lets a text be longer than
the model's position table.
"""

import unicodedata
from typing import Any


def plain(text: str) -> str:
    """`text` on one line without control characters, unpaired surrogates and angle brackets; may be empty.

    >>> plain(" the <b>mug</b>  now ")
    'the b mug /b now'
    """
    kept = (" " if _unwanted(char) else char for char in text)
    return " ".join("".join(kept).split())


def fill(prompt: str, text: str) -> str:
    """`prompt` with `{}` replaced by the plain `text`; "" when nothing of it is left.

    >>> fill("a photo of {}", "the mug")
    'a photo of the mug'
    """
    kept = plain(text)
    return prompt.replace("{}", kept) if kept else ""


def check_prompt(expert: str, prompt: str) -> str:
    """Return `prompt` when it has one place for the phrase.

    Raises:
        ValueError: it has not.
    """
    if prompt.count("{}") != 1:
        raise ValueError(
            f"expert {expert!r}: prompt {prompt!r}; expected one {{}} where the phrase goes"
        )
    return prompt


def cut(tokenizer: Any, text: str, most: int) -> str:
    """The start of `text` that makes at most `most` tokens, special ones not counted."""
    offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)[
        "offset_mapping"
    ]
    return text if len(offsets) <= most else text[: offsets[most - 1][1]].rstrip()


def _unwanted(char: str) -> bool:
    return char in "<>" or unicodedata.category(char) in ("Cc", "Cs")
