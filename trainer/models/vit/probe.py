"""A linear probe: how much of what an instruction asks for can be read off a frozen encoder's features by a line.

Probes of encoders classify images (arXiv 2111.06377); ours segments by instruction. The logit at a patch is
<W f + b, t>, with t the mean of learnt word embeddings: linear in the feature f given the text, and the words know
nothing of each other. Logits are stretched to the frame bilinearly, so nothing finer than a patch can be told; compare
probes with probes of the same patch only.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from trainer.data.tokens import PAD
from trainer.models.protocol import Features
from trainer.models.vit.encoder import Encoder
from trainer.models.vit.pyramid import last_map


class Probe(nn.Module):
    """A `trainer.models.protocol.MaskModel`.

    Args:
        encoder: frozen.
        vocabulary: number of token ids.
        dim: width of a word.
    """

    def __init__(self, encoder: Encoder, *, vocabulary: int, dim: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.words = nn.Embedding(vocabulary, dim, padding_idx=PAD)
        with torch.no_grad():
            self.words.weight.mul_(dim**-0.5)
        self.project = nn.Linear(encoder.dim, dim)
        self.map_channels = (encoder.dim,)
        self.text_dim = dim

    def forward(self, image: Tensor, tokens: Tensor, embedding: Tensor | None = None) -> Tensor:
        """image b3hw in [0, 1], sides multiples of the patch, tokens bt -> mask logits b1hw."""
        return self.decode(self.encode(image, tokens, embedding))

    def encode(self, image: Tensor, tokens: Tensor, embedding: Tensor | None = None) -> Features:
        """As `forward`; the one map is the encoder's last, the text its words."""
        assert embedding is None, "nothing of this image encoder is cached"
        real = tokens != PAD
        text = self.words(tokens)
        share = real.to(text.dtype) / real.sum(1, keepdim=True).clamp(min=1)
        return Features(
            maps=(last_map(self.encoder, image),),
            text=text,
            pooled=(text * share[:, :, None]).sum(1),
            real=real,
            frame_hw=(image.shape[2], image.shape[3]),
        )

    def decode(self, features: Features) -> Tensor:
        """Mask logits b1hw."""
        seen = self.project(features.maps[0].movedim(1, 3))
        logits = torch.einsum("brsd,bd->brs", seen, features.pooled)[:, None]
        return interpolate(logits, features.frame_hw, mode="bilinear", align_corners=False)
