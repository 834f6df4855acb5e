"""Image + instruction -> mask logits: the generator that stage II trains.

The shape is SAM's decoder (arXiv 2304.02643): a learnt mask token joins the text tokens, the two sides attend to each
other for a few blocks, and the mask token becomes the kernel of a dot product. Unlike SAM, attention hides padded
tokens, so that a batch gives what its samples give alone, and the upscaling has skips from the encoder, since the
encoder is trained from scratch and its coarse level is only an eighth of a small frame.

The image encoder is a part that is handed in, so that one that was pre-trained can take its place (the kind `vit`).
"""

from typing import Any

import torch
from torch import Tensor, nn

from trainer.data.tokens import PAD
from trainer.models.protocol import Features
from trainer.models.tiny.encoders import Attention, ConvBlock, Mlp, TextEncoder, place_encoding


class TwoWayBlock(nn.Module):
    """Tokens attend to themselves, tokens to image, image to tokens; pre-norm."""

    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.self_attention = Attention(dim, heads=heads)
        self.tokens_to_image = Attention(dim, heads=heads)
        self.image_to_tokens = Attention(dim, heads=heads)
        self.mlp = Mlp(dim)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(4))

    def forward(
        self, tokens: Tensor, image: Tensor, place: Tensor, real: Tensor
    ) -> tuple[Tensor, Tensor]:
        """tokens btd, image bnd, place nd, real bt (False = padding) -> tokens, image."""
        t = self.norms[0](tokens)
        tokens = tokens + self.self_attention(t, t, real)
        i = self.norms[1](image)
        tokens = tokens + self.tokens_to_image(self.norms[2](tokens), i + place, values=i)
        tokens = tokens + self.mlp(tokens)
        image = image + self.image_to_tokens(i + place, self.norms[3](tokens), real)
        return tokens, image


class Segmenter(nn.Module):
    """The whole tiny model, or its text encoder and decoder over another image encoder.

    Args:
        image: module from b3hw in [0, 1] to maps at a half, a quarter and an eighth of the frame, whose channels are
            its `widths`, each a multiple of 4; such as `trainer.models.tiny.encoders.ImageEncoder`.
        vocabulary: number of token ids.
        max_tokens: longest instruction in tokens.
        dim: width of tokens and attention.
        depth: two-way blocks.
        heads: attention heads.
    """

    def __init__(
        self, *, image: Any, vocabulary: int, max_tokens: int, dim: int, depth: int, heads: int
    ) -> None:
        super().__init__()
        self.image = image
        w2, w4, w8 = image.widths
        self.map_channels = (w2, w4, w8)
        self.text_dim = dim
        self.text = TextEncoder(vocabulary=vocabulary, dim=dim, max_tokens=max_tokens, heads=heads)
        self.to_dim = nn.Linear(w8, dim)
        self.mask_token = nn.Parameter(torch.randn(dim) * 0.02)
        self.blocks = nn.ModuleList(TwoWayBlock(dim, heads=heads) for _ in range(depth))
        self.from_dim = nn.Conv2d(dim, w4, 1)
        self.film = nn.Linear(dim, 2 * w4)
        self.up4 = ConvBlock(2 * w4, w4)
        self.to_w2 = nn.Conv2d(w4, w2, 1)
        self.up2 = ConvBlock(2 * w2, w2)
        self.up1 = nn.ConvTranspose2d(w2, w2 // 2, 2, stride=2)
        self.kernel = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, w2 // 2 + 1)
        )

    def forward(self, image: Tensor, tokens: Tensor, embedding: Tensor | None = None) -> Tensor:
        """image b3hw in [0, 1] with h and w multiples of 8, tokens bt -> mask logits b1hw."""
        return self.decode(self.encode(image, tokens, embedding))

    def encode(self, image: Tensor, tokens: Tensor, embedding: Tensor | None = None) -> Features:
        """As `forward`; the maps are at a half, a quarter and an eighth of the frame."""
        assert embedding is None, "nothing of this image encoder is cached"
        text, pooled = self.text(tokens)
        return Features(
            maps=self.image(image),
            text=text,
            pooled=pooled,
            real=tokens != PAD,
            frame_hw=(image.shape[2], image.shape[3]),
        )

    def decode(self, features: Features) -> Tensor:
        """Mask logits b1hw."""
        f2, f4, f8 = features.maps
        b, _, h, w = f8.shape
        mask_token = self.mask_token.expand(b, 1, -1)
        queries = torch.cat([mask_token, features.text], 1)
        real = torch.cat([torch.ones_like(features.real[:, :1]), features.real], 1)
        place = place_encoding(h, w, queries.shape[2]).to(f8)
        keys = self.to_dim(f8.flatten(2).transpose(1, 2))
        for block in self.blocks:
            queries, keys = block(queries, keys, place, real)
        answer = queries[:, 0]
        x = self.from_dim(keys.transpose(1, 2).unflatten(2, (h, w)))
        scale, shift = self.film(answer)[:, :, None, None].chunk(2, 1)
        x = self.up4(torch.cat([_double(x), f4 * (1.0 + scale) + shift], 1))
        x = self.up2(torch.cat([_double(self.to_w2(x)), f2], 1))
        x = nn.functional.gelu(self.up1(x))
        kernel = self.kernel(answer)
        logits = torch.einsum("bc,bchw->bhw", kernel[:, 1:], x) + kernel[:, :1, None]
        return logits[:, None]


def _double(x: Tensor) -> Tensor:
    return nn.functional.interpolate(x, scale_factor=2, mode="nearest")
