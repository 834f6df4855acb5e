"""Tiny image and text encoders that learn from scratch on one core.

Convolutions and group norm only, so that a sample's features do not depend on the rest of its batch. The image
encoder keeps every level for the decoder's skips; text tokens pass one self-attention block that knows their order.
Letters: b samples, c channels, h w pixels of the training frame, t tokens, d width of the text.
"""

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from trainer.data.tokens import PAD


class ConvBlock(nn.Module):
    """3x3 convolution, group norm, SiLU; `stride` 2 halves the frame."""

    def __init__(self, c_in: int, c_out: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, 3, stride=stride, padding=1, bias=False)
        self.norm = nn.GroupNorm(4, c_out)

    def forward(self, x: Tensor) -> Tensor:
        return functional.silu(self.norm(self.conv(x)))


class ImageEncoder(nn.Module):
    """bchw -> features at half, quarter and eighth resolution with w, 2w and 4w channels.

    The first step takes patches of 2x2 pixels to the half resolution, losing nothing: 3x3 convolutions at full
    resolution would cost as much as all the rest.
    """

    def __init__(self, *, width: int, channels: int = 3) -> None:
        super().__init__()
        self.widths = (width, 2 * width, 4 * width)
        w2, w4, w8 = self.widths
        self.patches = nn.Conv2d(channels, w2, 2, stride=2)
        self.level2 = nn.Sequential(ConvBlock(w2, w2), ConvBlock(w2, w2))
        self.level4 = nn.Sequential(ConvBlock(w2, w4, stride=2), ConvBlock(w4, w4))
        self.level8 = nn.Sequential(ConvBlock(w4, w8, stride=2), ConvBlock(w8, w8))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Input values are expected in [0, 1]; they are centred here."""
        f2 = self.level2(self.patches(x * 2.0 - 1.0))
        f4 = self.level4(f2)
        return f2, f4, self.level8(f4)


class TextEncoder(nn.Module):
    """Token ids bt -> (tokens btd, pooled bd); padding changes neither the other tokens nor the pooled vector."""

    def __init__(self, *, vocabulary: int, dim: int, max_tokens: int, heads: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, dim, padding_idx=PAD)
        self.place = nn.Parameter(torch.randn(max_tokens, dim) * 0.02)
        self.attend = Attention(dim, heads=heads)
        self.norm = nn.LayerNorm(dim)
        self.mlp = Mlp(dim)
        self.norm_out = nn.LayerNorm(dim)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        real = tokens != PAD
        x = self.embed(tokens) + self.place[: tokens.shape[1]]
        y = self.norm(x)
        x = x + self.attend(y, y, real)
        x = self.norm_out(x + self.mlp(x))
        share = real.to(x.dtype) / real.sum(1, keepdim=True).clamp(min=1)
        return x, (x * share[..., None]).sum(1)


class Attention(nn.Module):
    """Multi-head attention of queries btd over keys bsd; `real` (bs, True = may be looked at) hides padding."""

    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim) for _ in range(4))

    def forward(
        self,
        queries: Tensor,
        keys: Tensor,
        real: Tensor | None = None,
        values: Tensor | None = None,
    ) -> Tensor:
        q = self._split(self.query(queries))
        k = self._split(self.key(keys))
        v = self._split(self.value(keys if values is None else values))
        mask = None if real is None else real[:, None, None, :]
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out(mixed.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


class Mlp(nn.Module):
    """Two layers, twice as wide inside, residual left to the caller."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.up = nn.Linear(dim, 2 * dim)
        self.down = nn.Linear(2 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(functional.gelu(self.up(self.norm(x))))


def place_encoding(h: int, w: int, dim: int) -> Tensor:
    """Fixed sine and cosine encoding of pixel centres in the unit frame: (h * w, dim), dim a multiple of 4."""
    frequencies = torch.pi * 2.0 ** torch.linspace(-1.0, 3.0, dim // 4)
    y = (torch.arange(h) + 0.5) / h
    x = (torch.arange(w) + 0.5) / w
    ys = (y[:, None] * frequencies).repeat_interleave(w, 0)
    xs = (x[:, None] * frequencies).repeat(h, 1)
    return torch.cat([ys.sin(), ys.cos(), xs.sin(), xs.cos()], 1)


def film(features: Tensor, scale_shift: Tensor) -> Tensor:
    """Features bchw, scaled and shifted by the text (b 2c), through SiLU."""
    scale, shift = scale_shift[:, :, None, None].chunk(2, 1)
    return functional.silu(features * (1.0 + scale) + shift)
