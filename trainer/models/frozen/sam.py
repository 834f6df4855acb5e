"""SAM's image encoder as IVM uses it: frozen, over the image squashed to its square.

Unlike SAM itself, IVM (arXiv 2405.19783, released code) does not keep the aspect ratio and pads nothing, so the
features cover the frame. Mean and deviation are ImageNet's, which are SAM's own divided by 255. The encoder is the fast
form of `annotators.sam.encoder` over the original parameters.

Letters: b samples, h w pixels of the frame, c channels, r s of the features (64 x 64 of 1024 pixels).
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from annotators.sam.attention import in_one, in_pieces
from annotators.sam.checkpoint import load_parts
from annotators.sam.checkpoint_file import checkpoint_file
from annotators.sam.encoder import SamEncoder

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class FrozenSam(nn.Module):
    """image -> features, without gradients.

    Args:
        vit: segment-anything's encoder, float32.
        dtype: of the products in its blocks; features are float32 either way.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, vit: Any, *, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.side: int = vit.img_size
        self.channels: int = vit.neck[0].out_channels
        self.encoder = SamEncoder(vit, dtype=dtype, attend=_attend_where_it_lies)
        self.requires_grad_(False)
        mean, std = (torch.tensor(v)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    @torch.no_grad()
    def forward(self, image: Tensor) -> Tensor:
        """image float b3hw, RGB in [0, 1], of any size -> float32 bcrs; the same under autocast."""
        with torch.autocast(image.device.type, enabled=False):
            squashed = squash(image.float(), (self.side, self.side))
            return self.encoder((squashed - self.mean) / self.std)


def load_frozen_sam(model: str, *, dtype: torch.dtype = torch.float32) -> FrozenSam:
    """The encoder of an original SAM checkpoint (sam_vit_h_4b8939.pth for IVM), on the CPU.

    Raises:
        ValueError: there is no such file, or it is no checkpoint of SAM; the message says how to get one.
    """
    path: Path = checkpoint_file(model)
    return FrozenSam(load_parts(path).encoder, dtype=dtype)


def squash(image: Tensor, size_hw: tuple[int, int], *, mode: str = "bilinear") -> Tensor:
    """b3hw in [0, 1] to another frame, whatever its shape; filtered when it shrinks, as PIL does; within [0, 1]."""
    if tuple(image.shape[2:]) == size_hw:
        return image
    there = interpolate(image, size_hw, mode=mode, align_corners=False, antialias=True)
    return there.clamp(0.0, 1.0)


def _attend_where_it_lies(q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The form of attention for the device at the time, since a model is built before it is moved."""
    form: Any = in_one if q.is_cuda or q.is_meta else _in_pieces
    return form(q, k, v, rows, columns)


_in_pieces = torch.compiler.disable(in_pieces)
"""A loop over pieces would be unrolled by a compiler into thousands of operations."""
