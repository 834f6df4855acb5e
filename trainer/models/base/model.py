"""The kind `base`: a frozen SAM image encoder, a frozen text encoder, and a mask decoder that is trained between them.

An earlier prototype of IVM had this shape (SAM-B and T5-base, in the history of the code of arXiv 2405.19783) before a
language model took the place of the text encoder. The decoder is the released one (`mask_decoder` beside this); its
condition is not one token but all tokens of the instruction, brought to the decoder's width by a small MLP that is
trained too (ours). Padding is hidden, so a batch gives what its samples give alone. What costs is the image encoder,
and since it is frozen, what it makes of a photograph can be kept (`trainer.models.frozen.embeddings`).

Letters: b samples, t text tokens, d width of the decoder, c channels, r s of the features (64 x 64 of 1024 pixels).
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from annotators.models.weights import Named, fetch_weights
from trainer.data.config import DataConfig
from trainer.models.base.light import LightDiscriminator
from trainer.models.base.mask_decoder import MaskDecoder
from trainer.models.config import BaseConfig
from trainer.models.frozen.image import FrozenImage, load_frozen_image, name_image
from trainer.models.frozen.text import FrozenText, load_frozen_text, name_text
from trainer.models.frozen.tokens import HFTokens, load_hf_tokens
from trainer.models.protocol import Features


class BaseModel(nn.Module):
    """A `trainer.models.protocol.MaskModel` that learns a projection and a decoder.

    Args:
        image: the frozen image encoder; its channels are the width d of the decoder.
        text: the frozen text encoder.
        depth: two-way blocks of the decoder.
        heads: attention heads.
        mlp: inner width of the blocks' MLPs.
        mask_tokens: learnt tokens whose mean makes the kernel.
    """

    def __init__(
        self,
        *,
        image: FrozenImage,
        text: FrozenText,
        depth: int = 2,
        heads: int = 8,
        mlp: int = 2048,
        mask_tokens: int = 1,
    ) -> None:
        super().__init__()
        dim = image.channels
        if dim % (2 * heads):
            raise ValueError(
                f"model.heads {heads}; expected a number that divides half the image encoder's {dim} channels"
            )
        self.image, self.text = image, text
        self.project = nn.Sequential(
            nn.LayerNorm(text.dim), nn.Linear(text.dim, dim), nn.GELU(), nn.Linear(dim, dim)
        )
        self.decoder = MaskDecoder(
            dim=dim, depth=depth, heads=heads, mlp=mlp, mask_tokens=mask_tokens
        )
        self.map_channels = (dim,)
        self.text_dim = dim

    def forward(self, image: Tensor, tokens: Tensor, embedding: Tensor | None = None) -> Tensor:
        """image b3hw in [0, 1], tokens bt -> mask logits b1hw float32."""
        return self.decode(self.encode(image, tokens, embedding))

    def encode(self, image: Tensor, tokens: Tensor, embedding: Tensor | None = None) -> Features:
        """As `forward`. `embedding` bcrs is what `embed` gave for `image`, whose pixels are then not read."""
        if embedding is None:
            embedding = self.embed(image)
        hidden, whole, real = self.text(tokens)
        return Features(
            maps=(embedding.float(),),
            text=self.project(hidden),
            pooled=self.project(whole),
            real=real,
            frame_hw=(image.shape[2], image.shape[3]),
        )

    def decode(self, features: Features) -> Tensor:
        """Mask logits b1hw float32, bilinear from the decoder's four times the features' size."""
        logits = self.decoder(features.maps[0], features.text, features.real)
        return interpolate(logits.float(), features.frame_hw, mode="bilinear", align_corners=False)

    @torch.no_grad()
    def embed(self, image: Tensor) -> Tensor:
        """What the frozen encoder makes of b3hw in [0, 1]: bcrs, in the dtype that it is kept in."""
        return self.image(image)


def build_tokens(config: BaseConfig, texts: Iterable[str], *, data: DataConfig) -> HFTokens:
    """The text encoder's own tokenizer; `texts` teach it nothing."""
    return _tokens(config, data.max_tokens)


def tokens_facts(tokens: HFTokens) -> dict[str, Any]:
    """The longest instruction; the rest stands with the text encoder."""
    return {"max_tokens": tokens.max_tokens}


def read_tokens(config: BaseConfig, facts: Mapping[str, Any]) -> HFTokens:
    """From model.json and the text encoder."""
    return _tokens(config, facts["max_tokens"])


def build_model(config: BaseConfig, tokens: HFTokens, *, size_hw: tuple[int, int]) -> BaseModel:
    """Frozen encoders from their files, projection and decoder drawn; any frame will do, since it is squashed."""
    return BaseModel(
        image=load_frozen_image(config.image),
        text=load_frozen_text(config.text, end=tokens.end),
        depth=config.depth,
        heads=config.heads,
        mlp=config.mlp,
        mask_tokens=config.mask_tokens,
    )


def build_discriminator(
    config: BaseConfig, tokens: HFTokens, *, size_hw: tuple[int, int]
) -> LightDiscriminator:
    """A light head on the frozen encoder's features, beside a decoder that guesses."""
    return LightDiscriminator(guesser=build_model(config, tokens, size_hw=size_hw))


def frozen_parts(config: BaseConfig) -> dict[str, Named]:
    """The image and the text encoder."""
    return {"image": name_image(config.image), "text": name_text(config.text)}


def with_frozen(config: BaseConfig, revisions: Mapping[str, str]) -> BaseConfig:
    """Both encoders pinned."""
    pinned = {
        part: getattr(config, part).model_copy(update={"revision": revision})
        for part, revision in revisions.items()
    }
    return config.model_copy(update=pinned)


def _tokens(config: BaseConfig, max_tokens: int) -> HFTokens:
    folder = fetch_weights(config.text.model, name_text(config.text).revision)
    return load_hf_tokens(folder, max_tokens=max_tokens)
