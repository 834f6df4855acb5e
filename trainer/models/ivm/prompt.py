"""What LLaVA is asked, as token ids: the instruction in its template, with as many image tokens as the image has.

The two templates are IVM's (arXiv 2405.19783, released code). The discriminator's is the generator's with a question
put before the last line, and a tokenizer of this family never joins pieces over a line break, so one table of tokens
serves both: `Question.ask` puts the question into the generator's rows.

Letters: b samples, t tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from annotators.models.prompt import cut, plain

IMAGE = "<image>"
POLICY = "USER: <image>\n{} \n ASSISTANT:"
JUDGE = (
    "USER: <image>\n{} \n Can you follow instruction above based on the given image? \n ASSISTANT:"
)
PROBES = ("find the red mug", "where's the 2nd one?", "x")


@dataclass(frozen=True, slots=False, kw_only=True, eq=False)
class LlavaTokens:
    """Instructions to the ids of whole prompts (`trainer.models.protocol.TextTokens`).

    tokenizer: LLaVA's, a fast one of transformers with a pad token. image_tokens: places that one image takes (576 for
    336 pixels in patches of 14). max_tokens: of the instruction; the rest of a longer one is not read. template: with
    one `{}` for the instruction.
    """

    tokenizer: Any
    image_tokens: int
    max_tokens: int = 256
    template: str = POLICY

    def __post_init__(self) -> None:
        if self.tokenizer.pad_token_id is None:
            raise ValueError(
                "the tokenizer has no pad token; expected LLaVA's own, saved beside its weights"
            )
        if len(self._ids(IMAGE, special=False)) != 1:
            raise ValueError(
                f"the tokenizer does not know {IMAGE} as one token; expected LLaVA's own, saved beside its weights"
            )

    @property
    def pad(self) -> int:
        return self.tokenizer.pad_token_id

    @property
    def unknown(self) -> None:
        """No word is dropped: the language model has read them all before."""
        return None

    @cached_property
    def image_id(self) -> int:
        """The id that each place of the image has."""
        return self._ids(IMAGE, special=False)[0]

    def encode(self, texts: Sequence[str]) -> Tensor:
        """int64 bt of whole prompts, padded at the right end.

        Marks of the model in a text, such as `<image>`, lose their brackets.
        """
        rows = [self._ids(self.prompt(text), special=True) for text in texts]
        tokens = torch.full((len(rows), max(map(len, rows))), self.pad, dtype=torch.int64)
        for i, row in enumerate(rows):
            tokens[i, : len(row)] = torch.tensor(row)
        return tokens

    def prompt(self, text: str) -> str:
        """What is tokenized for one instruction."""
        said = cut(self.tokenizer, plain(text), self.max_tokens)
        start, _, end = self.template.partition("{}")
        return start.replace(IMAGE, IMAGE * self.image_tokens) + said + end

    def _ids(self, text: str, *, special: bool) -> list[int]:
        return self.tokenizer(text, add_special_tokens=special)["input_ids"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Question:
    """The ids by which the discriminator's prompt is longer than the generator's, `tail` ids before the end.

    `ids` is int64 q.
    """

    ids: Tensor
    tail: int
    pad: int

    @classmethod
    def between(cls, policy: LlavaTokens, judge: LlavaTokens) -> "Question":
        """Find out what the second template adds.

        Raises:
            ValueError: it depends on the instruction, so the tokenizer joins pieces over a line break.
        """
        found = {_added(policy, judge, text) for text in PROBES}
        if len(found) != 1 or (answer := found.pop()) is None:
            raise ValueError(
                "the tokenizer reads the end of the prompt differently after different instructions; expected "
                "LLaVA's own, which keeps lines apart"
            )
        ids, tail = answer
        return cls(ids=torch.tensor(ids), tail=tail, pad=policy.pad)

    def ask(self, tokens: Tensor) -> Tensor:
        """Generator's rows bt, padded anywhere -> discriminator's rows b(t+q), padded at the right end."""
        rows, real = real_first(tokens, tokens != self.pad)
        b, t = rows.shape
        q = len(self.ids)
        at = torch.arange(t + q, device=rows.device)[None]
        start = real.sum(1, keepdim=True) - self.tail
        source = torch.where(at < start, at, at - q).clamp(0, t - 1)
        kept = rows.gather(1, source.expand(b, -1))
        asked = self.ids.to(rows.device)[(at - start).clamp(0, q - 1)]
        inside = (at >= start) & (at < start + q)
        spliced = torch.where(inside, asked, kept)
        return torch.where(at < start + q + self.tail, spliced, self.pad)


def real_first(tokens: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Move padding to the right end of each row: tokens bt, real bool bt (False = padding) -> the same, in order."""
    order = real.logical_not().to(torch.uint8).argsort(dim=1, stable=True)
    return tokens.gather(1, order), real.gather(1, order)


def _added(
    policy: LlavaTokens, judge: LlavaTokens, text: str
) -> tuple[tuple[int, ...], int] | None:
    """(ids added, how many stand behind them), or None when that is not the whole difference."""
    one, other = policy.encode([text])[0].tolist(), judge.encode([text])[0].tolist()
    same = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(one))
    tail = len(one) - same
    if one[same:] != other[len(other) - tail :]:
        return None
    return tuple(other[same : len(other) - tail]), tail
