"""Boxes are XYXY float pixels, half-open: `x1 <= x < x2`, in the EXIF-upright frame of the image.

Other conventions are converted at the edge by functions named after both ends.
"""

import numpy as np
from numpy.typing import NDArray

Box = tuple[float, float, float, float]


def check_box(box: Box, size_hw: tuple[int, int]) -> Box:
    """Return `box` unchanged when it is a non-empty XYXY box inside an image of `size_hw` pixels.

    Raises:
        ValueError: a coordinate is not finite, the box is empty or it leaves the image.

    >>> check_box((0, 0, 4, 2), (2, 4))
    (0, 0, 4, 2)
    """
    height, width = size_hw
    x1, y1, x2, y2 = box
    if not all(np.isfinite(v) for v in box):
        raise ValueError(f"box {box} is not finite; expected XYXY pixels")
    if x2 <= x1 or y2 <= y1:
        raise ValueError(
            f"box {box} has x2 <= x1 or y2 <= y1; expected XYXY pixels (COCO gives XYWH: use boxes.xywh_to_xyxy)"
        )
    if x1 < 0 or y1 < 0 or x2 > width or y2 > height:
        raise ValueError(
            f"box {box} leaves the image of {width}x{height} pixels; use boxes.clip_box"
        )
    return box


def xywh_to_xyxy(box: Box) -> Box:
    """COCO's left, top, width, height in pixels to XYXY.

    >>> xywh_to_xyxy((1, 2, 3, 4))
    (1, 2, 4, 6)
    """
    x, y, w, h = box
    return (x, y, x + w, y + h)


def clip_box(box: Box, size_hw: tuple[int, int]) -> Box | None:
    """The part of `box` inside the image, or None when nothing is left or a coordinate is NaN.

    >>> clip_box((-3.0, 0.0, 2.0, 9.0), (4, 4))
    (0.0, 0.0, 2.0, 4.0)
    """
    height, width = size_hw
    x1, y1, x2, y2 = box
    if any(np.isnan(v) for v in box):
        return None  # max(0.0, nan) would be 0.0
    clipped = (max(0.0, x1), max(0.0, y1), min(float(width), x2), min(float(height), y2))
    return None if clipped[2] <= clipped[0] or clipped[3] <= clipped[1] else clipped


def box_of(mask: NDArray[np.bool_]) -> Box | None:
    """Tight box of the true pixels of `mask` (h, w), or None when there is none.

    >>> box_of(np.array([[0, 0, 0], [0, 1, 1]], bool))
    (1.0, 1.0, 3.0, 2.0)
    """
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size == 0:
        return None
    columns = np.flatnonzero(mask.any(axis=0))
    return (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))


def box_iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, in [0, 1].

    >>> box_iou((0, 0, 2, 2), (1, 0, 3, 2))
    0.3333333333333333
    """
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    inter = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
    return inter / union
