"""The kind `tiny`: all of it is learnt, its words from the training instructions, its pixels from the photographs."""

from collections.abc import Iterable, Mapping
from typing import Any

from annotators.models.weights import Named
from trainer.data.config import DataConfig
from trainer.data.tokens import Tokenizer, learn_tokenizer
from trainer.models.config import TinyConfig
from trainer.models.tiny.composite import Composite
from trainer.models.tiny.discriminator import Discriminator
from trainer.models.tiny.encoders import ImageEncoder, TextEncoder
from trainer.models.tiny.segmenter import Segmenter


def build_tokens(config: TinyConfig, texts: Iterable[str], *, data: DataConfig) -> Tokenizer:
    """The most frequent words of `texts`."""
    return learn_tokenizer(texts, max_words=data.max_words, max_tokens=data.max_tokens)


def tokens_facts(tokens: Tokenizer) -> dict[str, Any]:
    """Words and the longest instruction."""
    return {"max_tokens": tokens.max_tokens, "words": list(tokens.words)}


def read_tokens(config: TinyConfig, facts: Mapping[str, Any]) -> Tokenizer:
    """From model.json."""
    return Tokenizer(words=tuple(facts["words"]), max_tokens=facts["max_tokens"])


def build_model(config: TinyConfig, tokens: Tokenizer, *, size_hw: tuple[int, int]) -> Segmenter:
    """A fresh segmenter; any frame of multiples of 8 will do."""
    return Segmenter(
        image=ImageEncoder(width=config.width),
        vocabulary=tokens.size,
        max_tokens=tokens.max_tokens,
        dim=config.dim,
        depth=config.depth,
        heads=config.heads,
    )


def build_discriminator(
    config: TinyConfig, tokens: Tokenizer, *, size_hw: tuple[int, int]
) -> Discriminator | Composite:
    """One with eyes of its own, to which the mask is a channel of the image, or which see what it leaves of it."""
    if config.judge == "composite":
        text = TextEncoder(
            vocabulary=tokens.size,
            dim=config.dim,
            max_tokens=tokens.max_tokens,
            heads=config.heads,
        )
        return Composite(text=text, width=config.width, dim=config.dim)
    guesser = build_model(config, tokens, size_hw=size_hw)
    return Discriminator(guesser=guesser, width=config.width, dim=config.dim)


def frozen_parts(config: TinyConfig) -> dict[str, Named]:
    """None."""
    return {}


def with_frozen(config: TinyConfig, revisions: Mapping[str, str]) -> TinyConfig:
    """There is nothing to pin."""
    return config
