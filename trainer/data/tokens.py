"""Text -> token ids without a download: a vocabulary learnt from the training instructions, saved in the checkpoint.

Any script works: text is NFKC-normalised and case-folded, a run of word characters is a word, and each Han, kana or
Hangul character is a word of its own, since those scripts do not put spaces between words. Words that training never
saw share one id, which is trained by dropping known words now and then (`trainer.data.augment`).
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

PAD = 0
UNKNOWN = 1
FIRST_WORD = 2
NO_SPACES = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
WORD = re.compile(rf"[{NO_SPACES}]|[^\W{NO_SPACES}]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenizer:
    """`words[i]` has the id `FIRST_WORD + i`. Only the first `max_tokens` words of an instruction are read."""

    words: tuple[str, ...]
    max_tokens: int = 24
    pad: int = field(default=PAD, init=False)
    unknown: int | None = field(default=UNKNOWN, init=False)

    @property
    def size(self) -> int:
        """Number of distinct ids, padding and the unknown word included."""
        return FIRST_WORD + len(self.words)

    def encode(self, texts: Sequence[str]) -> Tensor:
        """int64 bt of token ids, padded with 0 to the longest of `texts`; a text without a word is one unknown."""
        index = {word: FIRST_WORD + i for i, word in enumerate(self.words)}
        rows = [
            [index.get(word, UNKNOWN) for word in split_words(text)[: self.max_tokens]] or [UNKNOWN]
            for text in texts
        ]
        tokens = torch.full((len(rows), max(map(len, rows))), PAD, dtype=torch.int64)
        for i, row in enumerate(rows):
            tokens[i, : len(row)] = torch.tensor(row)
        return tokens


def split_words(text: str) -> list[str]:
    """The words of a text, normalised and case-folded, in order.

    >>> split_words("Where's the LEFT mug?")
    ['where', 's', 'the', 'left', 'mug']
    >>> split_words("左の車")
    ['左', 'の', '車']
    """
    return WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def learn_tokenizer(
    texts: Iterable[str], *, max_words: int = 4096, max_tokens: int = 24
) -> Tokenizer:
    """The `max_words` most frequent words of `texts`; ties go by the alphabet, not by the order of `texts`."""
    counts = Counter(word for text in texts for word in split_words(text))
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    return Tokenizer(words=tuple(ranked[:max_words]), max_tokens=max_tokens)
