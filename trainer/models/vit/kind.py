"""The kind `vit`: a vision transformer of our own, pre-trained or not, under the tiny decoder or a linear probe.

Where the encoder learns on, it is part of the model and of its files; where it is frozen, the files name it by its
hash. Either way the hash of what training started from belongs to the run. One that was drawn and is frozen, to compare
others with, is saved too. Words are learnt from the instructions, as
by the kind `tiny`.
"""

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from annotators.models.weights import Named
from trainer.data.tokens import Tokenizer
from trainer.models.base.light import LightDiscriminator
from trainer.models.config import VitModelConfig
from trainer.models.tiny.kind import build_tokens, read_tokens, tokens_facts
from trainer.models.tiny.segmenter import Segmenter
from trainer.models.vit.encoder import Encoder
from trainer.models.vit.probe import Probe
from trainer.models.vit.pyramid import Pyramid
from trainer.models.vit.saved_encoder import load_encoder, name_encoder

__all__ = [
    "build_discriminator",
    "build_model",
    "build_tokens",
    "frozen_parts",
    "read_tokens",
    "tokens_facts",
    "with_frozen",
]

FROZEN, START = "encoder", "pretrained"
"""Names of the pre-trained encoder as a part of a model: one that stays as it is, and one that learning starts from."""


def build_model(
    config: VitModelConfig, tokens: Tokenizer, *, size_hw: tuple[int, int]
) -> nn.Module:
    """A fresh `MaskModel` over the encoder that the recipe names, or over one that is drawn.

    Raises:
        ValueError: the frame is no multiple of the stride, or the pre-trained encoder is not to be had, damaged, or of
            other sizes than the recipe says.
    """
    if any(side % config.stride for side in size_hw):
        raise ValueError(
            f"data.size_hw: {size_hw}; expected multiples of {config.stride} with this encoder"
        )
    encoder = _encoder(config)
    if config.head == "linear":
        return Probe(encoder, vocabulary=tokens.size, dim=config.dim)
    return Segmenter(
        image=Pyramid(encoder, width=config.width),
        vocabulary=tokens.size,
        max_tokens=tokens.max_tokens,
        dim=config.dim,
        depth=config.depth,
        heads=config.heads,
    )


def build_discriminator(
    config: VitModelConfig, tokens: Tokenizer, *, size_hw: tuple[int, int]
) -> LightDiscriminator:
    """A light head on the features of a model that guesses."""
    return LightDiscriminator(guesser=build_model(config, tokens, size_hw=size_hw))


def frozen_parts(config: VitModelConfig) -> dict[str, Named]:
    """The pre-trained encoder, whether it stays frozen or learning starts from it."""
    if config.pretrained is None:
        return {}
    part = START if config.train_encoder else FROZEN
    return {part: name_encoder(_folder(config.pretrained), config.revision)}


def with_frozen(config: VitModelConfig, revisions: Mapping[str, str]) -> VitModelConfig:
    """A frozen encoder is pinned; a model whose encoder learnt on has its own and needs no other."""
    if config.train_encoder:
        return config.model_copy(update={"pretrained": None, "revision": None})
    return config.model_copy(update={"revision": revisions.get(FROZEN, config.revision)})


def _encoder(config: VitModelConfig) -> Encoder:
    if config.pretrained is None:
        encoder = Encoder(config.encoder)
        return encoder if config.train_encoder else _held(encoder)
    folder = _folder(config.pretrained)
    saved = load_encoder(folder, revision=config.revision)
    if saved.config != config.encoder:
        ours, theirs = config.encoder.model_dump(mode="json"), saved.config.model_dump(mode="json")
        odd = ", ".join(f"{key}: {value}" for key, value in theirs.items() if value != ours[key])
        raise ValueError(
            f"model.encoder is of other sizes than the encoder in {folder}, which has {odd}; "
            f"--set 'model.encoder={{{', '.join(f'{k}: {v}' for k, v in theirs.items())}}}'"
        )
    return saved.encoder.requires_grad_(config.train_encoder)


def _held(encoder: Encoder) -> Encoder:
    """A frozen encoder that no file has: its parameters become buffers, which are saved with the model."""
    for module in encoder.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            delattr(module, name)
            module.register_buffer(name, parameter.detach())
    return encoder


def _folder(pretrained: str) -> Path:
    return Path(pretrained).expanduser()
