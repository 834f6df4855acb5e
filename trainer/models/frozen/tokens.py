"""The tokenizer of a text encoder of transformers, as the trainer sees it (`trainer.models.protocol.TextTokens`).

Its tokens are pieces of words, so none can stand for a dropped word, and none is dropped. What an instruction says is
text: a "</s>" in the middle of it ends nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from annotators.models.torch_model import load_processor

UNBOUNDED = 10**6
"""Lengths from here on are transformers' way to say that a tokenizer names none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HFTokens:
    """Texts to ids with the encoder's own marks around them; longer texts lose their end, never the end token."""

    tokenizer: Any
    max_tokens: int

    @property
    def pad(self) -> int:
        """What fills short rows; the end token where the tokenizer names no other."""
        pad = self.tokenizer.pad_token_id
        return int(self.end if pad is None else pad)

    @property
    def unknown(self) -> None:
        """No token stands for a dropped word."""

    @property
    def end(self) -> int:
        """The token that ends every text."""
        return int(self.tokenizer.eos_token_id)

    def encode(self, texts: Sequence[str]) -> Tensor:
        """int64 bt, padded at the right end to the longest of `texts`."""
        made = self.tokenizer(list(texts), truncation=True, max_length=self.max_tokens)
        rows: list[list[int]] = made["input_ids"]
        assert all(row[-1] == self.end for row in rows), "a text without its end token"
        rows = [[*(token for token in row if token != self.end), self.end] for row in rows]
        wide = max(map(len, rows))
        return torch.tensor([row + [self.pad] * (wide - len(row)) for row in rows])


def load_hf_tokens(folder: Path, *, max_tokens: int) -> HFTokens:
    """The tokenizer that was saved with a text encoder.

    Args:
        folder: of the encoder.
        max_tokens: longest text; less where the encoder takes less.

    Raises:
        ValueError: there is none, or it has no token that ends a text.
    """
    from transformers import AutoTokenizer

    tokenizer = load_processor(AutoTokenizer, folder, "text encoder")
    if tokenizer.eos_token_id is None or tokenizer("a")["input_ids"][-1] != tokenizer.eos_token_id:
        raise ValueError(
            f"the tokenizer in {folder} does not end texts with a token of its own; CLIP's and T5's do"
        )
    longest = tokenizer.model_max_length
    return HFTokens(
        tokenizer=tokenizer,
        max_tokens=max_tokens if longest >= UNBOUNDED else min(max_tokens, longest),
    )
