"""Kinds of models by name: a literal dict, imported on use. The one place that knows them all.

A kind is a module with the functions of `Kind`; what stands here asks the module that `config.kind` names.
"""

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any, Protocol

from torch import nn

from annotators.models.weights import Named
from trainer.data.config import DataConfig
from trainer.models.config import ModelConfig
from trainer.models.protocol import TextTokens

KINDS = {
    "tiny": "trainer.models.tiny.kind",
    "base": "trainer.models.base.model",
    "ivm": "trainer.models.ivm.kind",
    "vit": "trainer.models.vit.kind",
}


class Kind(Protocol):
    """What a module of `KINDS` offers."""

    def build_tokens(
        self, config: Any, texts: Iterable[str], *, data: DataConfig
    ) -> TextTokens: ...

    def tokens_facts(self, tokens: Any) -> dict[str, Any]: ...

    def read_tokens(self, config: Any, facts: Mapping[str, Any]) -> TextTokens: ...

    def build_model(self, config: Any, tokens: Any, *, size_hw: tuple[int, int]) -> nn.Module: ...

    def build_discriminator(
        self, config: Any, tokens: Any, *, size_hw: tuple[int, int]
    ) -> nn.Module: ...

    def frozen_parts(self, config: Any) -> dict[str, Named]: ...

    def with_frozen(self, config: Any, revisions: Mapping[str, str]) -> Any: ...


def build_tokens(config: ModelConfig, texts: Iterable[str], *, data: DataConfig) -> TextTokens:
    """The tokenizer of a model: learnt from `texts` by one that learns its words, else that of its text encoder.

    Raises:
        ValueError: the files of the text encoder are not to be had.
    """
    return _kind(config).build_tokens(config, texts, data=data)


def tokens_facts(config: ModelConfig, tokens: TextTokens) -> dict[str, Any]:
    """What model.json must hold for `read_tokens`."""
    return _kind(config).tokens_facts(tokens)


def read_tokens(config: ModelConfig, facts: Mapping[str, Any]) -> TextTokens:
    """The tokenizer that `tokens_facts` described."""
    return _kind(config).read_tokens(config, facts)


def build_model(config: ModelConfig, tokens: TextTokens, *, size_hw: tuple[int, int]) -> nn.Module:
    """A fresh `MaskModel`, on the CPU, for a frame of `size_hw` pixels.

    What is trained comes from torch's global generator (`trainer.models.saved_model.seeded`), frozen parts from files.

    Raises:
        ValueError: files are not to be had or of another kind, or the frame is none that the model takes.
    """
    return _kind(config).build_model(config, tokens, size_hw=size_hw)


def build_discriminator(
    config: ModelConfig, tokens: TextTokens, *, size_hw: tuple[int, int]
) -> nn.Module:
    """A fresh `trainer.models.tiny.discriminator.Judge`, as `build_model`."""
    return _kind(config).build_discriminator(config, tokens, size_hw=size_hw)


def frozen_parts(config: ModelConfig) -> dict[str, Named]:
    """Name of each frozen part -> which weights it is of; empty for a model that learns all of itself.

    Raises:
        ValueError: they are not to be had, or are not of the revision that the configuration pins.
    """
    return _kind(config).frozen_parts(config)


def with_frozen(config: ModelConfig, revisions: Mapping[str, str]) -> ModelConfig:
    """The configuration with its frozen parts pinned to these revisions; other weights are then refused."""
    return _kind(config).with_frozen(config, revisions)


def _kind(config: ModelConfig) -> Kind:
    module: Any = import_module(KINDS[config.kind])
    return module
