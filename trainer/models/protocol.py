"""What every model that masks offers, so that loop, discriminators and predictor need not know which it is.

Letters: b samples, t text tokens, d width of the text, c channels, h w pixels of the training frame, r s of a level.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """What a model knows of image and text before it answers.

    maps: finest first, each b c r s. text: btd. pooled: bd. real: bool bt, False for padding. frame_hw: pixels of the
    image they are of.
    """

    maps: tuple[Tensor, ...]
    text: Tensor
    pooled: Tensor
    real: Tensor
    frame_hw: tuple[int, int]


class MaskModel(Protocol):
    """An `nn.Module` whose forward is `decode(encode(image, tokens, embedding))`.

    A model with frozen parts sets `requires_grad` of their parameters to False: the loop trains, averages and saves the
    others only. `embedding` (`Batch.embedding`) is what its frozen encoder made of `image` before; a model without
    an encoder of that kind is never given one. map_channels are the channels of `Features.maps`, text_dim the width of
    `Features.pooled`.
    """

    map_channels: tuple[int, ...]
    text_dim: int

    def encode(self, image: Tensor, tokens: Tensor, embedding: Tensor | None = None) -> Features:
        """image float32 b3hw, RGB in [0, 1]; tokens int64 bt."""
        ...

    def decode(self, features: Features) -> Tensor:
        """Mask logits b1hw in the frame of the image."""
        ...

    def forward(self, image: Tensor, tokens: Tensor, embedding: Tensor | None = None) -> Tensor:
        """Mask logits b1hw."""
        ...


class TextTokens(Protocol):
    """Text to token ids. `pad` fills short rows; `unknown` is what a dropped word reads as, None: drop none."""

    @property
    def pad(self) -> int: ...

    @property
    def unknown(self) -> int | None: ...

    def encode(self, texts: Sequence[str]) -> Tensor:
        """int64 bt, padded at the right end with `pad`."""
        ...
