"""Materials and procedural textures: what colour a point of a surface has, from its own coordinates.

Textures are functions of local coordinates, so an object keeps its stripes wherever it is put. Colours are linear
RGB in [0, 1]; `COLOURS` holds the names that instructions may use.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
RGB = tuple[float, float, float]

SRGB: dict[str, tuple[int, int, int]] = {
    "red": (196, 30, 32), "orange": (246, 126, 14), "yellow": (248, 208, 40), "green": (44, 140, 62),
    "blue": (34, 80, 190), "purple": (112, 52, 158), "pink": (244, 142, 178), "white": (236, 235, 230),
    "black": (32, 32, 35), "brown": (164, 112, 66), "silver": (190, 192, 196),
}  # fmt: skip
"""Colour name -> sRGB bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """How a surface looks.

    `reflect` is the reflectance seen head-on, `rough` in [0, 1] blurs reflections, `metal` tints them with `base`.
    `texture` names a function of `TEXTURES`; `scale` is its period and `girth` the radius it is wound on, metres.
    """

    base: RGB
    second: RGB = (0.8, 0.8, 0.78)
    texture: str = "plain"
    scale: float = 0.02
    girth: float = 0.04
    reflect: float = 0.04
    rough: float = 0.3
    metal: bool = False


def linear(srgb: tuple[float, float, float]) -> RGB:
    """Linear RGB in [0, 1] of sRGB bytes."""
    value = np.asarray(srgb, float) / 255
    out = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return (float(out[0]), float(out[1]), float(out[2]))


def material(
    colour: str,
    finish: str,
    *,
    pattern: str = "plain",
    girth: float = 0.04,
    flat: bool = False,
    rng: np.random.Generator,
) -> Material:
    """The material of an object's main surface, slightly varied by `rng`.

    Dots are wound around the z axis at radius `girth` metres, or laid out on the faces of a cube of half side
    `girth` when `flat`.
    """
    tint = np.asarray(linear(SRGB[colour])) * rng.uniform(0.9, 1.1) * rng.uniform(0.97, 1.03, 3)
    base = tuple(float(v) for v in np.clip(tint, 0, 0.9))
    assert len(base) == 3
    glossy = bool(rng.random() < 0.6)
    plain = Material(
        base=base, reflect=0.05 if glossy else 0.03, rough=0.08 if glossy else 0.6, girth=girth
    )
    if finish == "metal":
        return replace(plain, reflect=0.8, rough=float(rng.uniform(0.1, 0.25)), metal=True)
    if finish == "wooden":
        return replace(plain, second=_darker(base, 0.55), texture="wood", reflect=0.03, rough=0.5)
    if finish == "cardboard":
        return replace(plain, texture="card", reflect=0.015, rough=0.9)
    if pattern == "striped":
        scale = float(rng.uniform(0.022, 0.03))
        return replace(plain, texture="stripes", scale=scale)
    if pattern == "dotted":
        texture = "dots_flat" if flat else "dots_round"
        return replace(plain, texture=texture, scale=float(rng.uniform(0.019, 0.024)))
    return plain


def albedo(of: Material, *, local: Array) -> Array:
    """Diffuse colour (n, 3) at local points (n, 3), metres."""
    base, second = vector(of.base), vector(of.second)
    share = TEXTURES[of.texture](local, of)
    return base + share[:, None] * (second - base)


def vector(values: Sequence[float]) -> NDArray[np.float32]:
    """A colour, point or direction as float32 (3,)."""
    return np.asarray(values, np.float32)


def noise(x: Array, y: Array) -> Array:
    """Smooth fractal noise of mean about 0.5, one period per unit square, sampled bilinearly at (n,) points."""
    tile = _tile()
    size = len(tile)
    gx, gy = x * size, y * size
    fx, fy = np.floor(gx), np.floor(gy)
    ix, iy = fx.astype(np.int32) & (size - 1), fy.astype(np.int32) & (size - 1)
    jx, jy = (ix + 1) & (size - 1), (iy + 1) & (size - 1)
    tx, ty = gx - fx, gy - fy
    top = tile[iy, ix] * (1 - tx) + tile[iy, jx] * tx
    low = tile[jy, ix] * (1 - tx) + tile[jy, jx] * tx
    return top * (1 - ty) + low * ty


@cache
def _tile() -> Array:
    """A seamless 256x256 tile of fractal noise, values spread over about [0, 1]."""
    size = 256
    rng = np.random.default_rng(7_431)
    spectrum = np.fft.fft2(rng.standard_normal((size, size)))
    f = np.fft.fftfreq(size) * size
    radius = np.maximum(np.hypot(f[:, None], f[None]), 1)
    field = np.real(np.fft.ifft2(spectrum * radius**-1.15))
    return np.clip(0.5 + 0.22 * field / field.std(), 0, 1).astype(np.float32)


def _darker(rgb: RGB, factor: float) -> RGB:
    return (rgb[0] * factor, rgb[1] * factor * 0.92, rgb[2] * factor * 0.85)


def _edge(value: Array, width: float) -> Array:
    """0 below zero, 1 above, smooth over `width`."""
    return np.clip(value / np.float32(width) + 0.5, 0, 1)


def _plain(p: Array, of: Material) -> Array:
    return np.zeros(len(p), np.float32)


def _stripes(p: Array, of: Material) -> Array:
    wave = np.abs(np.mod(p[:, 2] / np.float32(of.scale), 1) - 0.5) - 0.27
    return 1 - _edge(wave, 0.06)


def _dots(u: Array, v: Array) -> Array:
    row = np.floor(v)
    du = np.mod(u + 0.5 * np.mod(row, 2), 1) - 0.5
    return 1 - _edge(np.hypot(du, v - row - 0.5) - 0.29, 0.09)


def _dots_round(p: Array, of: Material) -> Array:
    around = np.arctan2(p[:, 1], p[:, 0]) / np.float32(2 * np.pi)
    count = max(5, round(2 * np.pi * of.girth / of.scale))
    return _dots(around * np.float32(count), p[:, 2] / np.float32(of.scale))


def _dots_flat(p: Array, of: Material) -> Array:
    rel = p - vector([0, 0, of.girth])
    axis = np.argmax(np.abs(rel), axis=1)
    u = np.where(axis == 0, rel[:, 1], rel[:, 0])
    v = np.where(axis == 2, rel[:, 1], rel[:, 2])
    return _dots(u / np.float32(of.scale), v / np.float32(of.scale))


def _wood(p: Array, of: Material) -> Array:
    bend = noise(p[:, 0] * np.float32(0.9), (p[:, 1] + p[:, 2]) * np.float32(3.1))
    grain = np.mod((p[:, 1] * np.float32(1.0) + p[:, 2] * np.float32(0.6)) * 45 + bend * 5, 1)
    fibre = noise(p[:, 0] * 2, (p[:, 1] + p[:, 2]) * 22)
    return np.clip(0.55 * np.abs(grain - 0.5) * 2 * bend + 0.6 * (fibre - 0.35), 0, 1)


def _planks(p: Array, of: Material) -> Array:
    """Boards along x of width `scale`, each with its own grain and tone."""
    across = p[:, 1] / np.float32(of.scale)
    board = np.floor(across)
    tone = np.mod(board * np.float32(0.618034), 1)
    bend = noise(p[:, 0] * np.float32(0.6) + tone * 7, across * np.float32(0.31) + tone * 3)
    fibre = noise(p[:, 0] * np.float32(1.3) + tone * 5, across * np.float32(3.0))
    rings = np.mod(bend * 6 + across * np.float32(0.7), 1)
    seam = _edge(np.abs(across - board - 0.5) - 0.487, 0.022)
    share = 0.25 * tone + 0.45 * (fibre - 0.3) + 0.4 * (np.abs(rings - 0.5) * 2) * bend
    return np.clip(np.maximum(share, seam), 0, 1)


def _speckle(p: Array, of: Material) -> Array:
    fine = noise(p[:, 0] / np.float32(of.scale), (p[:, 1] + p[:, 2]) / np.float32(of.scale))
    return np.clip((fine - 0.35) * 0.9, 0, 1)


def _checks(p: Array, of: Material) -> Array:
    u = np.mod(p[:, 0] / np.float32(of.scale), 1) < 0.5
    v = np.mod(p[:, 1] / np.float32(of.scale), 1) < 0.5
    weave = noise(p[:, 0] * 9, p[:, 1] * 9) * np.float32(0.12)
    return (u.astype(np.float32) + v.astype(np.float32)) * np.float32(0.44) + weave


def _card(p: Array, of: Material) -> Array:
    return np.clip(noise(p[:, 0] * 3, (p[:, 1] + p[:, 2]) * 11) * np.float32(0.22), 0, 1)


TEXTURES: dict[str, Callable[[Array, Material], Array]] = {
    "plain": _plain, "stripes": _stripes, "dots_round": _dots_round, "dots_flat": _dots_flat, "wood": _wood,
    "planks": _planks, "speckle": _speckle, "checks": _checks, "card": _card,
}  # fmt: skip
"""Texture name -> function of (local points, material) giving the share of the second colour."""
