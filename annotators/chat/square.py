"""Square-padding, and boxes of the square back in the photograph.

VisCoT (and LLaVA, which it is built on) sees a photograph in the middle of a square of its longer side and answers in
fractions of that square. A box goes back by that side, less the bar before the photograph on the shorter axis; scaling
by width and height instead, as IVM's first release did, moves and squashes every box of a photograph that is not
square.
"""

import numpy as np

from annotators.boxes import Box, clip_box
from annotators.protocols import Image

BAR = (122, 116, 104)
"""Colour of the bars, RGB: the mean of CLIP's training images, as in LLaVA."""


def pad_square(image: Image) -> Image:
    """The photograph in the middle of a square of its longer side; the spare pixel of an odd rest is behind it."""
    height, width = image.shape[:2]
    side = max(height, width)
    left, top = before(height, width)
    square = np.empty((side, side, 3), np.uint8)
    square[:] = BAR
    square[top : top + height, left : left + width] = image
    return square


def before(height: int, width: int) -> tuple[int, int]:
    """Pixels of the bar left of and above the photograph in its square.

    >>> before(100, 201)
    (0, 50)
    """
    side = max(height, width)
    return (side - width) // 2, (side - height) // 2


def unpad_box(box: Box, size_hw: tuple[int, int]) -> Box | None:
    """A box in fractions of the square, as XYXY pixels of the photograph; None where it lies in the bars alone.

    >>> unpad_box((0.0, 0.25, 0.5, 0.75), (100, 200))
    (0.0, 0.0, 100.0, 100.0)
    """
    height, width = size_hw
    side = max(height, width)
    left, top = before(height, width)
    x1, y1, x2, y2 = (value * side for value in box)
    return clip_box((x1 - left, y1 - top, x2 - left, y2 - top), size_hw)
