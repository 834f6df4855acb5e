"""Maps at a half, a quarter and an eighth of the frame from a plain vision transformer.

The simple feature pyramid of ViTDet (arXiv 2203.16527): all levels come from the encoder's last map, upwards by
transposed convolutions, downwards by stride. Ours are narrow from the first step (a 1x1 convolution brings the map to a
level's channels), and end in the tiny encoder's block, so that the tiny decoder finds what it is used to. A plain
encoder has no fine maps: what is finer than a patch here was guessed from inside of it.
"""

import torch
from torch import Tensor, nn

from trainer.models.tiny.encoders import ConvBlock
from trainer.models.vit.encoder import Encoder

STRIDES = (2, 4, 8)


class Pyramid(nn.Module):
    """An image encoder for `trainer.models.tiny.segmenter.Segmenter`.

    Args:
        encoder: whose patch is a power of two.
        width: channels at half resolution; doubled at a quarter and an eighth. A multiple of 4.
    """

    def __init__(self, encoder: Encoder, *, width: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.widths = (width, 2 * width, 4 * width)
        self.levels = nn.ModuleList(
            _level(encoder, stride=stride, channels=channels)
            for stride, channels in zip(STRIDES, self.widths, strict=True)
        )

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Maps of b3hw in [0, 1], finest first."""
        seen = last_map(self.encoder, image)
        return tuple(level(seen) for level in self.levels)


def last_map(encoder: Encoder, image: Tensor) -> Tensor:
    """The encoder's map bdrs of the whole image b3hw, without a graph where the encoder is frozen."""
    trains = any(p.requires_grad for p in encoder.parameters())
    with torch.set_grad_enabled(trains and torch.is_grad_enabled()):
        return encoder(image)


def _level(encoder: Encoder, *, stride: int, channels: int) -> nn.Sequential:
    assert encoder.patch & (encoder.patch - 1) == 0, encoder.patch
    steps: list[nn.Module] = [nn.Conv2d(encoder.dim, channels, 1)]
    at = encoder.patch
    while at > stride:
        steps += [
            nn.ConvTranspose2d(channels, channels, 2, stride=2),
            nn.GroupNorm(4, channels),
            nn.GELU(),
        ]
        at //= 2
    while at < stride:
        steps.append(ConvBlock(channels, channels, stride=2))
        at *= 2
    return nn.Sequential(*steps, ConvBlock(channels, channels))
