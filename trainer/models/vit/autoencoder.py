"""A masked autoencoder (arXiv 2111.06377): the encoder sees the visible patches, a small decoder says the others.

After pre-training only `encoder` is kept. The masking itself is no part of the model: it has nothing to learn, and in
float32 and uncompiled it says the same in every training.

Where patches are hidden for what they are expected to cost (Hard Patches Mining, arXiv 2304.05919) a head expects it.
The paper's predictor is a decoder of its own beside an averaged teacher that encodes the whole image. Ours is two
layers that look at a patch's embedding, before any block, and at the mean of the image's: whole images are then never
encoded, and nothing of what it learns reaches the embedding.

Letters: b samples, h w pixels, l patches, n hidden ones, d width of the encoder, p side of a patch.
"""

import math

import torch
from torch import Tensor, nn

from trainer.models.vit.config import VitConfig
from trainer.models.vit.decoder import Decoder
from trainer.models.vit.encoder import Encoder
from trainer.models.vit.shown import Shown
from trainer.objectives.config import MimConfig


class Autoencoder(nn.Module):
    """Encoder and decoder.

    Args:
        encoder: sizes of the encoder.
        config: sizes of the decoder.
        expects_losses: whether the model says what it expects to lose on each patch
            (trainer.masking.config.MaskingConfig.expects_losses).
    """

    def __init__(
        self, encoder: VitConfig, *, config: MimConfig, expects_losses: bool = False
    ) -> None:
        super().__init__()
        self.encoder = Encoder(encoder)
        step = math.lcm(4, config.decoder_heads)
        self.decoder = Decoder(
            from_dim=encoder.dim,
            dim=config.decoder_dim or -(-encoder.dim // (2 * step)) * step,
            depth=config.decoder_depth,
            heads=config.decoder_heads,
            answer_dim=3 * encoder.patch * encoder.patch,
            table_hw=encoder.table_hw,
        )
        self.expects_losses = expects_losses
        if expects_losses:
            self.judge = nn.Sequential(
                nn.LayerNorm(2 * encoder.dim),
                nn.Linear(2 * encoder.dim, encoder.dim),
                nn.GELU(),
                nn.Linear(encoder.dim, 1),
            )

    def embed(self, image: Tensor) -> Tensor:
        """Patch embeddings bld of images b3hw in [0, 1], with their positions."""
        return self.encoder.embed(image)

    def expect(self, patches: Tensor) -> Tensor:
        """Patch embeddings bld -> what each patch is expected to cost, bl; only their sequence has a meaning.

        No gradient reaches the embeddings.
        """
        assert self.expects_losses
        seen = patches.detach()
        return self.judge(torch.cat([seen, seen.mean(1, keepdim=True).expand_as(seen)], 2))[:, :, 0]

    def reconstruct(
        self, patches: Tensor, *, visible: Shown, hidden: Shown, grid_hw: tuple[int, int]
    ) -> Tensor:
        """Pixels (b, n, 3 p^2) of the patches that `hidden` lists, from those of bld that `visible` lists.

        In the order of trainer.models.vit.pixels; what stands at padded places has no meaning.
        """
        features = self.encoder.encode(visible.of(patches), visible.real)
        return self.decoder(features, visible=visible, hidden=hidden, grid_hw=grid_hw)

    def forward(self, image: Tensor) -> Tensor:
        """The encoder's map bdrs of whole images b3hw."""
        return self.encoder(image)
