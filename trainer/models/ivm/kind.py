"""The kind `ivm` for `trainer.models.registry`: from a recipe to tokens, a model and a discriminator."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from annotators.models.weights import Named, name_weights
from trainer.data.config import DataConfig
from trainer.models.base.light import LightDiscriminator
from trainer.models.frozen.image import load_frozen_image, name_image, products
from trainer.models.ivm.composite import Composite
from trainer.models.ivm.config import IvmConfig
from trainer.models.ivm.llava import Llava, LlavaParts, load_llava, load_llava_tokens, twin
from trainer.models.ivm.model import IvmModel
from trainer.models.ivm.names import load_published
from trainer.models.ivm.prompt import JUDGE, LlavaTokens, Question


def build_tokens(config: IvmConfig, texts: Iterable[str], *, data: DataConfig) -> LlavaTokens:
    """LLaVA's own tokenizer and prompt; `texts` teach it nothing."""
    return _tokens(config, data.max_tokens)


def tokens_facts(tokens: LlavaTokens) -> dict[str, Any]:
    """The longest instruction; the rest stands with LLaVA."""
    return {"max_tokens": tokens.max_tokens}


def read_tokens(config: IvmConfig, facts: Mapping[str, Any]) -> LlavaTokens:
    """From model.json and LLaVA."""
    return _tokens(config, facts["max_tokens"])


def build_model(config: IvmConfig, tokens: LlavaTokens, *, size_hw: tuple[int, int]) -> IvmModel:
    """Frozen parts from their files, the rest drawn, or published where the recipe says so."""
    return _model(config, tokens, _read(config))


def build_discriminator(
    config: IvmConfig, tokens: LlavaTokens, *, size_hw: tuple[int, int]
) -> nn.Module:
    """The discriminator that the recipe asks for."""
    if config.discriminator == "light":
        return LightDiscriminator(guesser=build_model(config, tokens, size_hw=size_hw))
    return _composite(config, tokens, _read(config))


def build_pair(config: IvmConfig, tokens: LlavaTokens) -> tuple[IvmModel, Composite]:
    """Generator and discriminator as in IVM's fig. 6: one frozen LLaVA, in memory once, under two separate adapters."""
    parts = _read(config)
    other = twin(parts)
    return _model(config, tokens, parts), _composite(config, tokens, other)


def frozen_parts(config: IvmConfig) -> dict[str, Named]:
    """SAM's encoder and LLaVA; and the published parameters, where training starts from them."""
    parts = {"image": name_image(config.image), "lmm": _name_lmm(config)}
    if config.published is not None:
        parts["published"] = name_weights(config.published)
    return parts


def with_frozen(config: IvmConfig, revisions: Mapping[str, str]) -> IvmConfig:
    """Both pinned. A model that is read again needs no published parameters: it has its own."""
    pinned: dict[str, Any] = {
        part: getattr(config, part).model_copy(update={"revision": revisions[part]})
        for part in ("image", "lmm")
        if part in revisions
    }
    return config.model_copy(update={**pinned, "published": None})


def _model(config: IvmConfig, tokens: LlavaTokens, parts: LlavaParts) -> IvmModel:
    model = IvmModel(
        image=load_frozen_image(config.image),
        lmm=_adapted(config, parts),
        pad=tokens.pad,
        hidden=config.projector,
        depth=config.depth,
        heads=config.heads,
        mlp=config.mlp,
        mask_tokens=config.mask_tokens,
    )
    if config.published is not None:
        load_published(model, Path(config.published).expanduser())
    return model


def _composite(config: IvmConfig, tokens: LlavaTokens, parts: LlavaParts) -> Composite:
    judge = LlavaTokens(
        tokenizer=tokens.tokenizer, image_tokens=tokens.image_tokens, template=JUDGE
    )
    return Composite(
        lmm=_adapted(config, parts), question=Question.between(tokens, judge), hidden=config.judge
    )


def _adapted(config: IvmConfig, parts: LlavaParts) -> Llava:
    return Llava(
        parts,
        rank=config.lora.rank,
        alpha=config.lora.alpha,
        dropout=config.lora.dropout,
        checkpointing=config.lmm.checkpointing,
    )


def _read(config: IvmConfig) -> LlavaParts:
    named = _name_lmm(config)
    return load_llava(config.lmm.model, revision=named.revision, dtype=products(config.lmm.dtype))


def _tokens(config: IvmConfig, max_tokens: int) -> LlavaTokens:
    named = _name_lmm(config)
    return load_llava_tokens(config.lmm.model, revision=named.revision, max_tokens=max_tokens)


def _name_lmm(config: IvmConfig) -> Named:
    return name_weights(config.lmm.model, config.lmm.revision)
