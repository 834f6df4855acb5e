"""How well each pixel's colour fits a colour name: nearest named prototypes in CIE L*a*b*, with soft borders.

Each of thirteen names (the eleven basic colour terms of Berlin and Kay 1969, and cyan and beige) has a few prototypes
in sRGB that follow how it looks lit and in shadow. A pixel's memberships fall off with the squared distance to the
nearest prototype of each name and add up to 1 (the fuzzy naming of Benavente, Vanrell, Baldrich 2008, with prototypes
in place of fitted sigmoids). Lightness counts less than hue, since shadow changes it first.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from annotators.classical.view import Map

PROTOTYPES: dict[str, tuple[tuple[int, int, int], ...]] = {
    "black": ((0, 0, 0), (25, 25, 25), (42, 40, 40), (30, 25, 35)),
    "grey": ((75, 75, 75), (105, 105, 108), (140, 140, 140), (170, 172, 175), (125, 118, 112)),
    "white": ((205, 205, 210), (225, 225, 225), (250, 250, 250), (238, 234, 225), (215, 225, 240)),
    "red": ((200, 30, 30), (150, 20, 25), (230, 60, 50), (110, 15, 20), (180, 50, 55), (220, 20, 60)),
    "orange": ((240, 130, 30), (225, 100, 25), (255, 165, 60), (200, 90, 30), (245, 160, 20)),
    "brown": ((120, 75, 40), (90, 55, 30), (150, 100, 60), (70, 42, 30), (160, 110, 80), (100, 65, 50)),
    "yellow": ((245, 220, 50), (225, 190, 40), (255, 240, 120), (200, 170, 40), (150, 130, 20)),
    "green": (
        (40, 140, 50), (80, 170, 70), (30, 90, 40), (120, 160, 60), (130, 200, 110), (60, 80, 40), (20, 60, 30),
        (90, 110, 50), (0, 170, 100),
    ),
    "cyan": ((40, 170, 170), (80, 200, 200), (20, 120, 125), (150, 220, 220)),
    "blue": (
        (30, 70, 180), (60, 110, 200), (20, 40, 110), (90, 150, 220), (25, 30, 70), (70, 100, 150), (150, 190, 230),
        (0, 0, 200),
    ),
    "purple": ((110, 50, 150), (80, 30, 110), (150, 100, 180), (60, 30, 80), (180, 150, 210)),
    "pink": ((240, 130, 170), (250, 180, 200), (220, 80, 140), (200, 110, 130), (255, 105, 180)),
    "beige": ((215, 190, 150), (230, 210, 175), (195, 170, 130), (180, 155, 120), (240, 225, 200)),
}  # fmt: skip

SOFTNESS = 9.0
"""Distance in L*a*b* units over which a membership falls by a factor exp(-1/2)."""
LIGHTNESS = 0.6
"""What a unit of lightness counts against a unit of a* or b*."""
SHADES: dict[str, tuple[float, float]] = {"dark": (38.0, -8.0), "light": (65.0, 8.0)}
"""Lightness at which a colour is half "dark" or "light", and the slope there."""


def colour_map(lab: NDArray[np.float32], names: Sequence[str]) -> Map:
    """How well each pixel of `lab` (h, w, 3) fits the best of `names`, float32 (h, w) in [0, 1].

    A name is one of `PROTOTYPES`, one of `SHADES`, or a shade and a prototype ("dark green").

    Raises:
        ValueError: a name is none of these.
    """
    wanted = [_split(name) for name in names]
    best = np.zeros(lab.shape[:2], np.float32)
    members = _memberships(lab) if any(colour for _, colour in wanted) else {}
    for shade, colour in wanted:
        fit = members[colour] if colour else np.ones(lab.shape[:2], np.float32)
        if shade:
            middle, slope = SHADES[shade]
            fit = fit / (1.0 + np.exp(-(lab[..., 0] - np.float32(middle)) / np.float32(slope)))
        best = np.maximum(best, fit.astype(np.float32))
    return best


def _split(name: str) -> tuple[str, str]:
    shade, _, colour = name.rpartition(" ")
    if not shade and colour in SHADES:
        shade, colour = colour, ""
    if (colour and colour not in PROTOTYPES) or (shade and shade not in SHADES):
        known = ", ".join([*PROTOTYPES, *SHADES])
        raise ValueError(
            f"unknown colour name: {name!r}. Known: {known}, and dark or light before one"
        )
    return shade, colour


def _memberships(lab: NDArray[np.float32]) -> dict[str, Map]:
    """Membership of each pixel in every name, adding up to 1."""
    import cv2

    flat = lab.reshape(-1, 3) * np.array([LIGHTNESS, 1, 1], np.float32)
    nearest: list[NDArray[np.float32]] = []
    for prototypes in PROTOTYPES.values():
        rgb = np.array([prototypes], np.float32) / np.float32(255)
        points = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2Lab))[0]
        points = points * np.array([LIGHTNESS, 1, 1], np.float32)
        least = np.full(len(flat), np.inf, np.float32)
        for point in points:
            offset = flat - point
            np.minimum(least, np.einsum("ij,ij->i", offset, offset), out=least)
        nearest.append(least)
    distance = np.stack(nearest)
    distance -= distance.min(axis=0)
    weight = np.exp(distance * np.float32(-0.5 / SOFTNESS**2))
    weight /= weight.sum(axis=0)
    shape = lab.shape[:2]
    return {name: weight[i].reshape(shape) for i, name in enumerate(PROTOTYPES)}
