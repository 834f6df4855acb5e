"""IVM's released model: a language model reads the instruction, SAM sees the image, a small decoder draws the mask.

Source: IVM-V1.0 (arXiv 2405.19783), read in the released code. The state of LLaVA-1.5-7B at the second last token of
the prompt is brought to the decoder's width and conditions `base.mask_decoder` over SAM ViT-H's features.
Trained are a LoRA of rank 8 (4,194,304 parameters), the projector (8,915,200) and the decoder (3,505,280): 16,614,784
in all. The release's page says "64M", which is the size of their file in MiB. Both encoders see the frame squashed to
their squares.

The release answers at 1024 x 1024 pixels; here logits are stretched from the decoder's quarter of that to the frame of
the image, which is the same when the frame is 1024 x 1024.

Letters: b samples, t tokens, d width of the decoder, c channels, r s of the features.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from trainer.models.base.mask_decoder import MaskDecoder
from trainer.models.frozen.image import FrozenImage
from trainer.models.ivm.llava import Llava
from trainer.models.protocol import Features

FROM_END = 1
"""The condition is the state at the token before the last: position -2 of an unpadded prompt."""


class IvmModel(nn.Module):
    """A `trainer.models.protocol.MaskModel`; its tokens are those of `trainer.models.ivm.prompt.LlavaTokens`.

    Args:
        image: the frozen image encoder; its channels are the width d of the decoder.
        lmm: the language model that sees, with its adapter.
        pad: id of padding in the tokens.
        hidden: inner width of the projector.
        depth: two-way blocks of the decoder.
        heads: attention heads of the decoder.
        mlp: inner width of the decoder's MLPs.
        mask_tokens: learnt tokens whose mean makes the kernel.
    """

    def __init__(
        self,
        *,
        image: FrozenImage,
        lmm: Llava,
        pad: int,
        hidden: int = 2048,
        depth: int = 2,
        heads: int = 8,
        mlp: int = 2048,
        mask_tokens: int = 1,
    ) -> None:
        super().__init__()
        dim = image.channels
        self.image, self.lmm, self.pad = image, lmm, pad
        self.projector = two_layers(lmm.width, hidden, dim)
        self.decoder = MaskDecoder(
            dim=dim, depth=depth, heads=heads, mlp=mlp, mask_tokens=mask_tokens
        )
        self.map_channels = (dim,)
        self.text_dim = dim

    def forward(self, image: Tensor, tokens: Tensor, embedding: Tensor | None = None) -> Tensor:
        """image b3hw in [0, 1], tokens bt of whole prompts -> mask logits b1hw float32."""
        return self.decode(self.encode(image, tokens, embedding))

    def encode(self, image: Tensor, tokens: Tensor, embedding: Tensor | None = None) -> Features:
        """As `forward`. `embedding` bcrs is what `embed` gave; the language model sees `image` either way."""
        if embedding is None:
            embedding = self.embed(image)
        condition = self.projector(self.lmm(image, tokens, pad=self.pad, from_end=FROM_END))
        return Features(
            maps=(embedding.float(),),
            text=condition[:, None],
            pooled=condition,
            real=torch.ones_like(tokens[:, :1], dtype=torch.bool),
            frame_hw=(image.shape[2], image.shape[3]),
        )

    def decode(self, features: Features) -> Tensor:
        """Mask logits b1hw float32, bilinear from the decoder's four times the features' size."""
        logits = self.decoder(features.maps[0], features.text)
        return interpolate(logits.float(), features.frame_hw, mode="bilinear", align_corners=False)

    @torch.no_grad()
    def embed(self, image: Tensor) -> Tensor:
        """What the frozen image encoder makes of b3hw in [0, 1]: bcrs, in the dtype that it is kept in."""
        return self.image(image)


def two_layers(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """An MLP with GELU between; its layers have timm's names, which are those of the release."""
    return nn.Sequential(
        OrderedDict(fc1=nn.Linear(inputs, hidden), act=nn.GELU(), fc2=nn.Linear(hidden, outputs))
    )
