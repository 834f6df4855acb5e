"""The pixels of patches, as targets.

Letters: b samples, h w pixels, p side of a patch, l patches row by row.
"""

import torch.nn.functional as functional
from torch import Tensor

INSIDE = 0.999
"""A pixel is of the photograph where its validity is above this; what is interpolated at its border is not."""


def pixels_of(image: Tensor, patch: int) -> Tensor:
    """Images b3hw -> the pixels of every patch, (b, l, 3 p^2): channel by channel, each row by row."""
    return functional.pixel_unshuffle(image, patch).flatten(2).transpose(1, 2)


def normed_pixels(image: Tensor, patch: int) -> Tensor:
    """Pixels of every patch of b3hw, (b, l, 3 p^2), each patch with mean 0 and variance 1 (MAE, arXiv 2111.06377).

    The variance is over 3 p^2 values and not one less, plus 1e-6: a patch of one colour becomes zeros.
    """
    pixels = pixels_of(image, patch)
    centred = pixels - pixels.mean(2, keepdim=True)
    return centred / (centred.square().mean(2, keepdim=True) + 1e-6).sqrt()


def whole_patches(pixel_valid: Tensor, patch: int) -> Tensor:
    """bool bl: the patches of which every pixel is of the photograph; pixel_valid b1hw in [0, 1]."""
    return -functional.max_pool2d(-pixel_valid, patch).flatten(1) > INSIDE
