"""What stands out: Boolean map saliency (Zhang and Sclaroff, ICCV 2013) on L*a*b* channels, with a centre prior.

An image is cut at many levels of each channel; what a cut leaves surrounded, touching no border, gains attention. It
is a theory of figure and ground without learning: good for things on a table, blind to things that leave the frame.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from annotators.classical.view import Map, View, smooth

STEP = 12
"""Distance between cuts, in grey levels of a channel stretched to 0..255."""
CENTRE = 0.35
"""Standard deviation of the centre prior as a share of the side."""


def saliency_map(view: View) -> Map:
    """Saliency of each pixel of a view, float32 (h, w) in [0, 1]; all 0 where nothing stands out."""
    import cv2

    height, width = view.lab.shape[:2]
    total = np.zeros((height, width), np.float32)
    for channel in range(3):
        levels = _stretch(view.lab[..., channel])
        if levels is None:
            continue
        for level in range(STEP // 2, 255, STEP):
            above = (levels > level).astype(np.uint8)
            total += _surrounded(above) + _surrounded(np.uint8(1) - above)
    closed: Any = cv2.morphologyEx(total, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    total = smooth(closed, max(height, width) / 100) * _centre(height, width)
    top = float(np.quantile(total, 0.995))
    return np.minimum(1.0, total / top).astype(np.float32) if top > 1e-6 else np.zeros_like(total)


def _stretch(channel: NDArray[np.float32]) -> NDArray[np.uint8] | None:
    """The channel in 0..255 between its 1st and 99th percentile; None when it hardly varies (under 4 units)."""
    low, high = np.quantile(channel, [0.01, 0.99])
    if high - low < 4.0:
        return None
    return np.clip((channel - low) * (255.0 / (high - low)), 0, 255).astype(np.uint8)


def _surrounded(mask: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Pixels of the pieces that touch no border, divided by their norm, so that small cuts count as large ones."""
    import cv2

    numbers: Any
    count, numbers = cv2.connectedComponents(mask, connectivity=8)
    inside = np.ones(count, np.float32)
    for edge in (numbers[0], numbers[-1], numbers[:, 0], numbers[:, -1]):
        inside[edge] = 0.0
    inside[0] = 0.0
    found = inside[numbers]
    area = float(found.sum())
    return found / np.float32(np.sqrt(area)) if area else found


def _centre(height: int, width: int) -> Map:
    y = ((np.arange(height) + 0.5) / height - 0.5) / CENTRE
    x = ((np.arange(width) + 0.5) / width - 0.5) / CENTRE
    return np.exp(-0.5 * (y[:, None] ** 2 + x[None, :] ** 2)).astype(np.float32)
