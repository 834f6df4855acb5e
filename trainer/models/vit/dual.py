"""An image encoder and a text encoder that meet in one space, and what fills in hidden patches: CFM-ViT's pre-training.

From arXiv 2309.00775, of which we hold summaries and no code: an image is the mean over its patches and not a class
token, embeddings have length 1, the reconstruction predicts the contrastive branch's own token features in the joint
space. Both branches share the encoder. After pre-training only `encoder` is kept.

Standard, and not known from the paper: one linear map without bias for each side (a mean of mapped tokens is then the
map of the mean), a learnt scale of similarities that starts at 1 / 0.07 and is cut off at 100 (CLIP, arXiv
2103.00020). The decoder is trainer.models.vit.decoder; the text encoder is the tiny one, which learns from scratch.

Letters: b samples, t text tokens, l patches, k listed ones, d width of the encoder, j of the joint space.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from trainer.models.tiny.encoders import TextEncoder
from trainer.models.vit.config import VitConfig
from trainer.models.vit.decoder import Decoder
from trainer.models.vit.encoder import Encoder
from trainer.models.vit.shown import Shown
from trainer.objectives.config import CfmConfig

LARGEST_SCALE = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Met:
    """Images and texts in the joint space.

    image, text: bj of length 1. features: bkj, the patches looked at, without a gradient; None where nobody predicts
    them.
    """

    image: Tensor
    text: Tensor
    features: Tensor | None


class Dual(nn.Module):
    """Two encoders, a joint space, and a decoder where something is reconstructed.

    Args:
        encoder: sizes of the image encoder.
        config: sizes of the rest, and what is reconstructed.
        vocabulary: distinct ids of text tokens, padding included.
        max_tokens: longest text.
    """

    def __init__(
        self, encoder: VitConfig, *, config: CfmConfig, vocabulary: int, max_tokens: int
    ) -> None:
        super().__init__()
        self.encoder = Encoder(encoder)
        self.read = TextEncoder(
            vocabulary=vocabulary,
            dim=config.text_dim,
            max_tokens=max_tokens,
            heads=config.text_heads,
        )
        self.meet_image = nn.Linear(encoder.dim, config.joint_dim, bias=False)
        self.meet_text = nn.Linear(config.text_dim, config.joint_dim, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(config.temperature)))
        self.told_features = config.reconstruct == "features"
        if config.reconstruct != "none":
            pixels = 3 * encoder.patch * encoder.patch
            self.decoder = Decoder(
                from_dim=encoder.dim,
                dim=_decoder_dim(encoder, config),
                depth=config.decoder_depth,
                heads=config.decoder_heads,
                answer_dim=config.joint_dim if config.reconstruct == "features" else pixels,
                table_hw=encoder.table_hw,
            )

    def embed(self, image: Tensor, placed: Tensor | None = None) -> Tensor:
        """Patch embeddings bld of images b3hw; bool b `placed` False: without positions (`Encoder.embed`)."""
        return self.encoder.embed(image, placed)

    def meet(self, patches: Tensor, tokens: Tensor, shown: Shown | None = None) -> Met:
        """The contrastive branch: patches bld, all or those that are `shown`, and text tokens int64 bt."""
        listed = patches if shown is None else shown.of(patches)
        real = None if shown is None else shown.real
        encoded = self.encoder.encode(listed, real)
        image = self.meet_image(mean_of(encoded, real))
        text = self.meet_text(self.read(tokens)[1])
        return Met(
            image=functional.normalize(image.float(), dim=1),
            text=functional.normalize(text.float(), dim=1),
            features=self.meet_image(encoded.detach()).detach() if self.told_features else None,
        )

    def fill_in(
        self, patches: Tensor, *, visible: Shown, hidden: Shown, grid_hw: tuple[int, int]
    ) -> Tensor:
        """The reconstruction branch: what it says of the hidden patches, of which patches bld it sees the visible."""
        features = self.encoder.encode(visible.of(patches), visible.real)
        return self.decoder(features, visible=visible, hidden=hidden, grid_hw=grid_hw)

    def scale(self) -> Tensor:
        """1 / temperature, a scalar. What a step made of it beyond the limit is taken back first, as CLIP does."""
        with torch.no_grad():
            self.log_scale.clamp_(max=math.log(LARGEST_SCALE))
        return self.log_scale.exp()


def mean_of(features: Tensor, real: Tensor | None = None) -> Tensor:
    """Mean bd over the places of bkd that are real (bool bk; None: all)."""
    if real is None:
        return features.mean(1)
    share = real.to(features.dtype) / real.sum(1, keepdim=True)
    return (features * share[:, :, None]).sum(1)


def _decoder_dim(encoder: VitConfig, config: CfmConfig) -> int:
    """The width that the recipe says, or half of the encoder's, rounded up to a multiple of 4 and of the heads."""
    if config.decoder_dim is not None:
        return config.decoder_dim
    step = math.lcm(4, config.decoder_heads)
    return -(-encoder.dim // (2 * step)) * step
