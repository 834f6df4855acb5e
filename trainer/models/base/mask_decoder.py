"""The conditioned mask decoder: image features and a few condition tokens in, one map of logits out.

IVM (arXiv 2405.19783), released decoder (read in the source): SAM's mask decoder with one learnt mask token and the
instruction's tokens in place of prompts, no IoU head, one three-layer MLP that makes the kernel from the mean of the
mask tokens. Reference sizes have 3,505,280 parameters. Places of the image are encoded by random frequencies, drawn
once and kept as a buffer: a decoder loaded without them is another decoder. Names of parameters are those of the
release, so that its file loads as it is.

Letters: b samples, d channels, r s of the image features, t condition tokens.
"""

import torch
from segment_anything.modeling.common import LayerNorm2d
from segment_anything.modeling.mask_decoder import MLP
from segment_anything.modeling.prompt_encoder import PositionEmbeddingRandom
from torch import Tensor, nn

from trainer.models.base.two_way import TwoWayTransformer


class MaskDecoder(nn.Module):
    """Image features and condition to mask logits at four times the features' size.

    Args:
        dim: width d of features and condition, a multiple of 8 and of twice `heads`.
        depth: two-way blocks.
        heads: attention heads.
        mlp: inner width of the blocks' MLPs.
        mask_tokens: learnt tokens whose mean makes the kernel; the release has 1, its prototypes had 32.
    """

    def __init__(
        self,
        *,
        dim: int = 256,
        depth: int = 2,
        heads: int = 8,
        mlp: int = 2048,
        mask_tokens: int = 1,
    ) -> None:
        super().__init__()
        if dim % 8:
            raise ValueError(f"decoder width {dim}; expected a multiple of 8")
        self.transformer = TwoWayTransformer(dim=dim, depth=depth, heads=heads, mlp=mlp)
        self.pe_layer = PositionEmbeddingRandom(dim // 2)
        self.mask_tokens = nn.Embedding(mask_tokens, dim)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(dim, dim // 4, 2, stride=2),
            LayerNorm2d(dim // 4),
            nn.GELU(),
            nn.ConvTranspose2d(dim // 4, dim // 8, 2, stride=2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = MLP(dim, dim, dim // 8, 3)

    def forward(
        self, image_features: Tensor, condition: Tensor, real: Tensor | None = None
    ) -> Tensor:
        """Mask logits b1(4r)(4s).

        Args:
            image_features: float bdrs.
            condition: float btd.
            real: bool bt, False for padding, which then changes nothing; None when there is none.
        """
        b, _, r, s = image_features.shape
        learnt = self.mask_tokens.weight.expand(b, -1, -1).to(condition.dtype)
        tokens = torch.cat([learnt, condition], 1)
        if real is not None:
            learnt_real = torch.ones(learnt.shape[:2], dtype=torch.bool, device=real.device)
            real = torch.cat([learnt_real, real], 1)
        image = image_features.flatten(2).transpose(1, 2)
        tokens, image = self.transformer(image, self.places((r, s)).to(image), tokens, real)
        upscaled = self.output_upscaling(image.transpose(1, 2).unflatten(2, (r, s)))
        kernel = self.output_hypernetworks_mlps(tokens[:, : learnt.shape[1]].mean(1))
        return torch.einsum("bc,bchw->bhw", kernel, upscaled)[:, None]

    def places(self, size_rs: tuple[int, int]) -> Tensor:
        """float32 (r s, d): where in the image a feature is; its frequencies are too high for half precision."""
        device = self.mask_tokens.weight.device.type
        with torch.autocast(device, enabled=False):
            return self.pe_layer(size_rs).flatten(1).t()
