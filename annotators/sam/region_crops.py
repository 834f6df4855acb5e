"""A region of a picture shown alone, for a model that sees pictures and knows no masks.

Alpha-CLIP (arXiv 2312.03818) has an input channel that says where to look. CLIP and SigLIP have none, so the rest is
taken away instead. What is put there matters (missingness bias): "blur" keeps where the thing is and hides what is
around it, and was the best of many such prompts for CLIP (arXiv 2306.04356); "mean" is the colour that CLIP's
normalisation maps to about zero; "grey" is plain mid-grey.
"""

import numpy as np

from annotators.boxes import Box
from annotators.masks import BoolMask
from annotators.protocols import Image

FILLS = ("blur", "mean", "grey")
COLOURS: dict[str, tuple[int, int, int]] = {"mean": (123, 117, 104), "grey": (128, 128, 128)}
"""RGB of what stands outside; the border that makes a crop square is always of the mean colour, or grey with "grey"."""
SOFTNESS = 0.1
"""Sigma of the blur as a share of the crop's longer side."""
BLURRED_AT = 96
"""Pixels of the longer side at which it is blurred: nothing finer survives such a blur, and a crop of 480 pixels would
take a third of a second each."""


def check_fill(expert: str, fill: str) -> str:
    """Return `fill` when it is known.

    Raises:
        ValueError: it is not.
    """
    if fill not in FILLS:
        raise ValueError(f"expert {expert!r}: fill {fill!r}; expected {', '.join(FILLS)}")
    return fill


def crop_of(image: Image, mask: BoolMask, box: Box, *, context: float, fill: str) -> Image:
    """The region as a square picture, RGB uint8 (s, s, 3), everything outside of `mask` filled.

    Args:
        image: RGB uint8 (h, w, 3).
        mask: boolean (h, w), not empty.
        box: its tight XYXY half-open box.
        context: border around the box as a share of its longer side, as far as the picture reaches.
        fill: what stands outside of the mask, one of `FILLS`.
    """
    x1, y1, x2, y2 = (int(v) for v in box)
    grow = round(context * max(x2 - x1, y2 - y1))
    top, bottom = max(0, y1 - grow), min(image.shape[0], y2 + grow)
    left, right = max(0, x1 - grow), min(image.shape[1], x2 + grow)
    crop, inside = image[top:bottom, left:right], mask[top:bottom, left:right]
    height, width = crop.shape[:2]
    side = max(height, width)
    flat = np.array(COLOURS["mean" if fill == "blur" else fill], np.uint8)
    outside = blurred(crop) if fill == "blur" else np.broadcast_to(flat, crop.shape)
    square = np.empty((side, side, 3), np.uint8)
    square[:] = flat
    down, along = (side - height) // 2, (side - width) // 2
    square[down : down + height, along : along + width] = np.where(inside[..., None], crop, outside)
    return square


def blurred(picture: Image) -> Image:
    """The picture, RGB uint8 (h, w, 3), too soft to show what is in it; of the same size."""
    import cv2

    height, width = picture.shape[:2]
    side = max(height, width)
    scale = min(1.0, BLURRED_AT / side)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    sigma = max(1.0, SOFTNESS * side * scale)
    soft = cv2.GaussianBlur(small, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
