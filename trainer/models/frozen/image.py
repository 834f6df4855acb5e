"""The frozen image encoder of a recipe: SAM's, from any of its files, at any side, its answer rounded once.

What comes out is an *embedding*: it depends on the pixels, the encoder and this rounding alone, so it may be made
today and read from a disk for the rest of the training (`embeddings` beside this). It is rounded to half precision
also when it is not kept, so that a cache changes no number. On a CPU images are encoded one at a time, which costs
nothing there, and so a batch gives to the bit what its images give alone; on a GPU together, equal up to rounding.

Letters: b samples, c channels, r s of the features.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from annotators.models.torch_model import pick_device, pick_dtype
from annotators.models.weights import Named, fetch_weights, name_weights
from annotators.sam.checkpoint import load_parts
from annotators.sam.checkpoint_file import checkpoint_file
from annotators.sam.hf_encoder import load_hf_encoder
from trainer.models.config import FrozenImageConfig
from trainer.models.frozen.sam import FrozenSam


class FrozenImage(nn.Module):
    """image -> embedding, without gradients.

    Args:
        sam: the encoder.
        rounded: dtype of the embedding.
    """

    def __init__(self, sam: FrozenSam, *, rounded: torch.dtype) -> None:
        super().__init__()
        self.sam = sam
        self.rounded = rounded
        self.channels: int = sam.channels

    def train(self, mode: bool = True) -> "FrozenImage":
        """Stays in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, image: Tensor) -> Tensor:
        """image float b3hw, RGB in [0, 1], of any size -> bcrs, of the dtype that it is rounded to."""
        parts = image.split(1) if image.device.type == "cpu" else (image,)
        return torch.cat([self.sam(part) for part in parts]).to(self.rounded)


def name_image(config: FrozenImageConfig) -> Named:
    """Which weights these are.

    Raises:
        ValueError: they are not to be had, or not of the revision that the recipe pins.
    """
    return name_weights(config.model, config.revision)


def load_frozen_image(config: FrozenImageConfig) -> FrozenImage:
    """The encoder of a recipe, on the CPU.

    Raises:
        ValueError: the weights are not to be had, of another revision or of another model, or `side` does not suit.
    """
    vit = at_side(_read(config), config.side)
    sam = FrozenSam(vit, dtype=products(config.dtype))
    if config.compile:
        for block in sam.encoder.blocks:
            block.compile(dynamic=False)
    return FrozenImage(sam, rounded=getattr(torch, config.embedding)).eval()


def products(dtype: str) -> torch.dtype:
    """What `dtype` of a recipe means here: auto is bfloat16 where there is a CUDA device, else float32."""
    return pick_dtype(dtype, pick_device("auto"))


def at_side(vit: Any, side: int | None) -> Any:
    """An `ImageEncoderViT` for inputs of `side` pixels, in place.

    Absolute positions are interpolated bicubically, as ViTDet (arXiv 2203.16527) does for another frame than that of
    its pre-training; relative ones linearly, as segment-anything does (`annotators.sam.attention.offsets`). SAM was
    not trained at other sides, so its features are worth less there; how much, was not measured.

    Raises:
        ValueError: the side is no multiple of the patch.
    """
    if side is None or side == vit.img_size:
        return vit
    patch = int(vit.patch_embed.proj.stride[0])
    if side % patch:
        raise ValueError(f"model.image.side {side}; expected a multiple of SAM's patch of {patch}")
    if vit.pos_embed is not None:
        places = vit.pos_embed.detach().permute(0, 3, 1, 2)
        grid = (side // patch, side // patch)
        resized = interpolate(places, grid, mode="bicubic", align_corners=False)
        vit.pos_embed = nn.Parameter(resized.permute(0, 2, 3, 1).contiguous(), requires_grad=False)
    vit.img_size = side
    return vit


def _read(config: FrozenImageConfig) -> Any:
    named = name_image(config)
    path: Path = fetch_weights(config.model, named.revision)
    if path.is_dir():
        return load_hf_encoder(path)
    return load_parts(checkpoint_file(str(path))).encoder
