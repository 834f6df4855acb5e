"""Masks that were published as photographs are: grey levels in a JPEG, lossy and in three channels.

Levels are taken as they stand. Stretching each mask to the full range, as the reader of IVM-Mix-1M does, makes one
expert of three look like all three, and a mask of zeros into NaN.
"""

from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.intake.image_files import read_image
from pipeline.intake.images import read_pixels
from pipeline.intake.refusal import Refused

Fit = Literal["refuse", "resize"]
GREY = 48
"""How far channels of a grey picture may lie apart: JPEG keeps colour coarsely."""
SHAPE = 0.01
"""How far aspect ratios may lie apart for a mask to be of the same picture in another size."""


def read_grey_mask(path: Path) -> NDArray[np.uint8]:
    """Grey levels uint8 (h, w) of an image file, upright.

    Raises:
        Refused: mask-missing, mask-format (no image, or a coloured one), mask-damaged and what else
            `pipeline.intake.images.admit` refuses, as mask-...
    """
    try:
        pixels = read_pixels(read_image(path))
    except Refused as error:
        reason = error.reason.replace("image-", "mask-")
        raise Refused(reason, f"{path.name}: {error.detail}") from error
    spread = pixels.max(axis=2) - pixels.min(axis=2)
    if spread.max() > GREY:
        raise Refused("mask-format", f"{path.name} is coloured; expected grey levels")
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)


def fit_mask(grey: NDArray[np.uint8], size_hw: tuple[int, int], *, fit: Fit) -> NDArray[np.uint8]:
    """`grey` in the frame of an image of `size_hw`; unchanged where it has that size.

    Raises:
        Refused: mask-size: another size, and `fit` is "refuse" or it is of another shape too.
    """
    height, width = grey.shape
    if (height, width) == size_hw:
        return grey
    ratio = (width / height) / (size_hw[1] / size_hw[0])
    if fit == "refuse" or abs(ratio - 1) > SHAPE:
        why = "" if fit == "resize" else "; fit: resize scales masks of the same shape"
        raise Refused("mask-size", f"mask {(height, width)} (h, w), image {size_hw}{why}")
    how = cv2.INTER_AREA if height * width > size_hw[0] * size_hw[1] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(grey, size_hw[::-1], interpolation=how), np.uint8)


def saturated(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Levels times 1.5, cut at 255: of three experts, two count as all (85, 170, 255 become 128, 255, 255)."""
    return np.minimum(np.rint(grey * 1.5), 255).astype(np.uint8)
