"""A mask drawn on its photograph for a model that judges it.

What lies outside is faded and not covered: whoever is asked what the mask lacks must be able to see it, and to see its
colour. The line runs around the mask, outside, so that it hides nothing that the mask holds.
"""

import cv2
import numpy as np

from annotators.masks import BoolMask
from annotators.protocols import Image

FADED = 0.4
"""Share of a pixel's own colour that stays outside; the rest is light grey."""
GREY = 200
LINE = (255, 0, 255)
"""RGB: magenta, rare in photographs."""
LINE_SHARE = 250
"""The line is the photograph's longer side divided by this, px."""


def show_mask(image: Image, mask: BoolMask) -> Image:
    """A new (h, w, 3) image: full colours inside the (h, w) mask, faded outside, a line between them."""
    assert mask.shape == image.shape[:2], (mask.shape, image.shape)
    faded = np.rint(image * FADED + GREY * (1 - FADED)).astype(np.uint8)
    shown = np.where(mask[..., None], image, faded)
    width = max(1, round(max(mask.shape) / LINE_SHARE))
    brush = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    grown = np.asarray(cv2.dilate(mask.astype(np.uint8), brush)) > 0
    shown[grown & ~mask] = LINE
    return shown
