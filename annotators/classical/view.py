"""A small copy of an image to think on, and the way back: classical experts work at a bounded size for speed.

Their maps are soft, float32 in [0, 1] at the small size; `cut` enlarges a map and thresholds it at the full size, so
outlines stay smooth, and says how stable the outcome is.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annotators.masks import BoolMask
from annotators.protocols import Image

Map = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class View:
    """An image shrunk to think on.

    `rgb` is uint8 (h, w, 3), `lab` float32 (h, w, 3) CIE L*a*b* under D65 with L in 0..100; `size_hw` is the size of
    the image it was made from.
    """

    rgb: Image
    lab: NDArray[np.float32]
    size_hw: tuple[int, int]


def shrink(image: Image, *, longest: int) -> View:
    """A view whose longest side has at most `longest` pixels; smaller images keep their size."""
    import cv2

    height, width = image.shape[:2]
    scale = longest / max(height, width)
    small = np.ascontiguousarray(image)
    if scale < 1:
        size_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = cv2.resize(small, size_wh, interpolation=cv2.INTER_AREA)
    lab: Any = cv2.cvtColor(small.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2Lab)
    return View(rgb=np.asarray(small, np.uint8), lab=lab, size_hw=(height, width))


def enlarge(values: NDArray[np.generic], size_hw: tuple[int, int]) -> Map:
    """A small map at `size_hw` pixels, bilinear."""
    import cv2

    small = values.astype(np.float32)
    if small.shape == size_hw:
        return small
    return np.asarray(
        cv2.resize(small, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_LINEAR), np.float32
    )


def cut(
    values: Map, size_hw: tuple[int, int], *, at: float, spread: float
) -> tuple[BoolMask, float]:
    """Threshold a soft map at full size.

    Returns:
        The pixels with a value of at least `at`, boolean of `size_hw`, and the stability: the IoU between the masks
        cut at `at + spread` and at `at - spread` (one holds the other), in [0, 1].
    """
    full = enlarge(values, size_hw)
    wide = int(np.count_nonzero(full >= at - spread))
    narrow = int(np.count_nonzero(full >= at + spread))
    return full >= at, narrow / wide if wide else 1.0


def smooth(values: Map, sigma: float) -> Map:
    """Gaussian blur with reflected borders."""
    import cv2

    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma), np.float32)


def pieces(
    mask: BoolMask, *, least: int = 1
) -> list[tuple[BoolMask, tuple[int, int, int, int], int]]:
    """8-connected pieces of at least `least` pixels, largest first (ties: raster order).

    Returns:
        For each its boolean mask (h, w), its XYXY box and its area in pixels.
    """
    import cv2

    count, numbers, stats, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=8
    )
    order = sorted(range(1, count), key=lambda i: (-int(stats[i, cv2.CC_STAT_AREA]), i))
    found: list[tuple[BoolMask, tuple[int, int, int, int], int]] = []
    for i in order:
        x, y, w, h, area = (int(v) for v in stats[i])
        if area >= least:
            found.append((numbers == i, (x, y, x + w, y + h), area))
    return found
