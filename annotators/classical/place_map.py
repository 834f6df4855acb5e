"""Where in the picture a place word points: a soft map in [0, 1] over the frame, nothing of its content.

"Near" and "far" are read as low and high in the picture, as on a floor or a table seen from above.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from annotators.classical.view import Map

EDGE = 0.07
"""Softness of a border, as a share of the image's side."""

HALVES: dict[str, tuple[str, float]] = {
    "left": ("x", -0.42), "leftmost": ("x", -0.30), "right": ("x", 0.58), "rightmost": ("x", 0.70),
    "top": ("y", -0.40), "topmost": ("y", -0.30), "bottom": ("y", 0.60), "bottommost": ("y", 0.70),
    "near": ("y", 0.50), "nearest": ("y", 0.55), "far": ("y", -0.50), "farthest": ("y", -0.45),
}  # fmt: skip
"""Place -> axis and the share of the side where it is half true; negative: true before it."""

MIDDLE = 0.2
"""Standard deviation of "middle" around the centre, as a share of each side."""


def place_fit(
    places: Sequence[str], x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How well points fit all `places`; `x` and `y` are shares of the width and height in [0, 1].

    "Middle" beside a side ("the middle of the left") means the middle along the other axis.

    Raises:
        ValueError: a place is unknown.
    """
    fit = np.ones(np.broadcast(x, y).shape)
    axes = {HALVES[place][0] for place in places if place in HALVES}
    for place in places:
        if place == "middle":
            if "x" not in axes:
                fit = fit * np.exp(-0.5 * ((x - 0.5) / MIDDLE) ** 2)
            if "y" not in axes:
                fit = fit * np.exp(-0.5 * ((y - 0.5) / MIDDLE) ** 2)
        elif place in HALVES:
            axis, edge = HALVES[place]
            distance = (x if axis == "x" else y) - abs(edge)
            fit = fit / (1.0 + np.exp(-np.sign(edge) * distance / EDGE))
        else:
            raise ValueError(f"unknown place: {place!r}. Known: {', '.join([*HALVES, 'middle'])}")
    return fit


def place_map(places: Sequence[str], size_hw: tuple[int, int]) -> Map:
    """`place_fit` at the centre of each pixel of an image of `size_hw`."""
    height, width = size_hw
    y, x = np.meshgrid(
        (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width, indexing="ij"
    )
    return place_fit(places, x, y).astype(np.float32)
