"""Light on a surface: a soft key light, an occluded sky with a little bounce, one mirror bounce.

Linear RGB, float32, everything vectorised over hits. The sums are the usual ones (Lambert; Schlick 1994); the room
outside the scene is a gradient with a bright window.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.tabletop.graph import Light
from pipeline.tabletop.outlook import OFFSET, Array, Hits, dot, frame, smooth, square
from pipeline.tabletop.surface import albedo, vector


def shade(
    hits: Hits,
    *,
    mesh: Any,
    light: Light,
    lit: Array,
    open_sky: Array,
    tile: NDArray[np.int32],
    size_hw: tuple[int, int] | None = None,
) -> Array:
    """Linear RGB (n, 3) of the light that comes back along each ray.

    `lit` and `open_sky` (n,) are the shares of key light and sky that each hit sees; reflections are smoothed when
    the hits are a whole image of `size_hw`.
    """
    key, sky = vector(light.key), vector(light.sky)
    base, reflect, rough, metal = _surfaces(hits, mesh)
    normal = hits.normal
    facing = np.maximum(dot(normal, vector(light.direction)), 0)
    mirror = reflect + (1 - reflect) * _schlick(hits) * np.where(metal, 1, (1 - rough) ** 2)
    mirror = np.where(hits.surface >= 0, mirror, 0)
    shine = _reflection(hits, mesh, light, tile, mirror, rough, lit)
    if size_hw is not None:
        (shine,) = smooth(hits, size_hw, shine)
    up = 0.62 + 0.38 * normal[:, 2]
    ambient = sky * (up * open_sky)[:, None] + (1 - open_sky)[:, None] * base * np.float32(0.28)
    diffuse = base * (ambient + key * (facing * lit)[:, None])
    matte = np.where(metal, 0.04, 1 - mirror)[:, None]
    tint = np.where(metal[:, None], base + (1 - base) * _schlick(hits)[:, None], 1)
    shine_occlusion = (0.35 + 0.65 * open_sky)[:, None]
    return (
        diffuse * matte + shine * tint * np.where(metal, 0.95, mirror)[:, None] * shine_occlusion
    ).astype(np.float32)


def _surfaces(hits: Hits, mesh: Any) -> tuple[Array, Array, Array, NDArray[np.bool_]]:
    """Base colour (n, 3), reflectance, roughness and metalness (n,) of each hit."""
    base = np.zeros((len(hits.surface), 3), np.float32)
    order = np.argsort(hits.surface, kind="stable")
    bounds = np.searchsorted(hits.surface[order], np.arange(len(mesh.materials) + 1))
    for index, of in enumerate(mesh.materials):
        rows = order[bounds[index] : bounds[index + 1]]
        if len(rows):
            base[rows] = albedo(of, local=hits.local[rows])
    reflect = np.array([of.reflect for of in mesh.materials], np.float32)[hits.surface]
    rough = np.array([of.rough for of in mesh.materials], np.float32)[hits.surface]
    metal = np.array([of.metal for of in mesh.materials])[hits.surface]
    return base, reflect, rough, metal & (hits.surface >= 0)


def _reflection(
    hits: Hits,
    mesh: Any,
    light: Light,
    tile: NDArray[np.int32],
    mirror: Array,
    rough: Array,
    lit: Array,
) -> Array:
    """What each hit mirrors, (n, 3): the nearest thing along the bounced ray, simply lit, or the room.

    Rough surfaces mirror an even glow; only smooth ones are worth a ray.
    """
    glow = np.broadcast_to(vector(light.sky) * 0.4, (len(mirror), 3)).astype(np.float32)
    rows = np.flatnonzero((mirror > 0.02) & (rough < 0.34))
    if not len(rows):
        return glow
    d, n = hits.direction[rows], hits.normal[rows]
    bounced = d - 2 * dot(d, n)[:, None] * n
    blur = square(16)[tile[rows]] * 2 - 1
    side, up = frame(bounced)
    spread = (rough[rows] ** 2 * 0.9)[:, None]
    bounced += spread * (blur[:, :1] * side + blur[:, 1:] * up)
    bounced /= np.sqrt(dot(bounced, bounced))[:, None]
    start = hits.point[rows] + hits.flat[rows] * OFFSET
    found = mesh.caster.run(start, bounced, output=1)
    met = found["primID"] >= 0
    triangle = found["primID"][met]
    bases = np.array([_mean(of) for of in mesh.materials], np.float32)
    facing = np.maximum(dot(mesh.flat[triangle], vector(light.direction)), 0)[:, None]
    seen = bases[mesh.surface[triangle]] * (
        vector(light.sky) * 0.6 + vector(light.key) * facing * np.float32(0.75)
    )
    glow[rows[met]] = seen
    free = rows[~met]
    glow[free] = _room(bounced[~met], light, lit[free], rough[free])
    return glow


def _mean(of: Any) -> tuple[float, float, float]:
    base, second = of.base, of.second
    share = 0.0 if of.texture == "plain" else 0.4
    return (
        base[0] + share * (second[0] - base[0]),
        base[1] + share * (second[1] - base[1]),
        base[2] + share * (second[2] - base[2]),
    )


def _room(direction: Array, light: Light, lit: Array, rough: Array) -> Array:
    """The room in a direction: dim floor, grey walls, bright ceiling, the key light's glow and one window."""
    z = direction[:, 2]
    level = 0.16 + 0.34 * np.clip(z * 2 + 0.5, 0, 1) + 0.5 * np.clip(z * 1.6 - 0.5, 0, 1)
    out = level[:, None] * vector(light.sky)
    toward = np.clip(dot(direction, vector(light.direction)), 0, 1)
    sharp = 12 + 500 * (1 - np.minimum(rough, 1)) ** 3
    glow = toward**sharp * (2 + 9 * (1 - rough)) * lit
    window = np.clip((0.16 - np.abs(direction[:, 0] + 0.55)) * 22, 0, 1) * np.clip(
        (0.22 - np.abs(z - 0.55)) * 18, 0, 1
    )
    bright = glow[:, None] * vector(light.key) + (window * 1.4)[:, None]
    return (out + bright).astype(np.float32)


def _schlick(hits: Hits) -> Array:
    cosine = np.clip(-dot(hits.normal, hits.direction), 0, 1)
    x = 1 - cosine
    x2 = x * x
    return x2 * x2 * x
