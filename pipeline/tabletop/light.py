"""Light on a surface: a soft key light with shadows, an occluded sky, one mirror bounce.

Linear RGB, float32, everything vectorised over hits. The sums are the usual ones (Lambert, Schlick 1994, cosine
sampling); the room outside the scene is a gradient with two bright windows.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.tabletop.graph import Light
from pipeline.tabletop.surface import albedo

Array = NDArray[np.float32]
SHADOW_RAYS, SKY_RAYS, SKY_REACH = 3, 3, 0.3
OFFSET = np.float32(2e-4)
"""How far from a surface a secondary ray starts, metres."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Hits:
    """What n rays met: triangle (-1 for nothing), surface, point, normals on the viewer's side, local point.

    `normal` is smooth and for shading, `flat` is the triangle's and for starting new rays.
    """

    triangle: NDArray[np.int32]
    surface: NDArray[np.int16]
    point: Array
    normal: Array
    flat: Array
    local: Array
    direction: Array

    @classmethod
    def at(
        cls, mesh: Any, *, triangle: NDArray[np.int32], u: Array, v: Array, direction: Array
    ) -> "Hits":
        """Interpolate a mesh at barycentric (u, v) of `triangle`."""
        t = np.maximum(triangle, 0)
        w = np.stack([1 - u - v, u, v], axis=1).astype(np.float32)
        normal = _blend(mesh.normals, t, w)
        normal /= np.maximum(np.sqrt(_dot(normal, normal)), 1e-9)[:, None]
        flat = mesh.flat[t]
        behind = _dot(flat, direction) > 0
        flat[behind] *= -1
        normal[behind] *= -1
        return cls(
            triangle=triangle,
            surface=np.where(triangle >= 0, mesh.surface[t], np.int16(-1)),
            point=_blend(mesh.corners, t, w),
            normal=normal,
            flat=flat,
            local=_blend(mesh.local, t, w),
            direction=direction,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sampler:
    """Which of 16 sets of directions each hit uses; `size_hw` when the hits are a whole image, which is then smoothed."""

    tile: NDArray[np.int16]
    size_hw: tuple[int, int] | None

    def points(self, k: int, of: int) -> Array:
        """The k-th of `of` sample points in the unit square, per hit, (n, 2)."""
        return _square(16 * of)[self.tile.astype(np.int32) + 16 * k]


def shade(hits: Hits, *, mesh: Any, light: Light, sampler: Sampler) -> Array:
    """Linear RGB (n, 3) of the light that comes back along each ray."""
    key_direction = np.float32(light.direction)
    key, sky = np.float32(light.key), np.float32(light.sky)
    base, reflect, rough, metal = _surfaces(hits, mesh)
    normal = hits.normal
    facing = np.maximum(_dot(normal, key_direction), 0)
    near = hits.point[:, 2] > -0.05  # the room behind the table needs no soft shadows
    lit = _key_seen(hits, mesh, light, sampler, facing, near)
    open_sky = _sky_seen(hits, mesh, sampler, near)
    mirror = reflect + (1 - reflect) * _schlick(hits) * np.where(metal, 1, (1 - rough) ** 2)
    mirror = np.where(hits.surface >= 0, mirror, 0)
    shine = _reflection(hits, mesh, light, sampler, mirror, rough, lit)
    if sampler.size_hw is not None:
        lit, open_sky, shine = _smooth(hits, sampler.size_hw, lit, open_sky, shine)
    up = 0.62 + 0.38 * normal[:, 2]
    ambient = sky * (up * open_sky)[:, None] + (1 - open_sky)[:, None] * base * np.float32(0.28)
    diffuse = base * (ambient + key * (facing * lit)[:, None])
    matte = np.where(metal, 0.04, 1 - mirror)[:, None]
    tint = np.where(metal[:, None], base + (1 - base) * _schlick(hits)[:, None], 1)
    shine_occlusion = (0.35 + 0.65 * open_sky)[:, None]
    return (
        diffuse * matte + shine * tint * np.where(metal, 0.95, mirror)[:, None] * shine_occlusion
    ).astype(np.float32)


def _blend(corner_values: Array, triangle: NDArray[np.int32], w: Array) -> Array:
    values = corner_values[triangle]
    return values[:, 0] * w[:, :1] + values[:, 1] * w[:, 1:2] + values[:, 2] * w[:, 2:]


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


def _key_seen(
    hits: Hits, mesh: Any, light: Light, sampler: Sampler, facing: Array, near: NDArray[np.bool_]
) -> Array:
    """Share of the key light's disc that each hit sees."""
    rows = np.flatnonzero((facing > 0) & near & (hits.surface >= 0))
    seen = np.ones(len(facing), np.float32)
    direction = np.float32(light.direction)
    side, up = _frame(direction[None])
    start = hits.point[rows] + hits.flat[rows] * OFFSET
    total = np.zeros(len(rows), np.float32)
    for k in range(SHADOW_RAYS):
        points = sampler.points(k, SHADOW_RAYS)[rows]
        radius = np.sqrt(points[:, :1]) * np.float32(light.softness)
        angle = points[:, 1:] * np.float32(2 * np.pi)
        to_light = direction + radius * (np.cos(angle) * side + np.sin(angle) * up)
        total += mesh.caster.run(start, to_light.astype(np.float32), query="OCCLUDED") < 0
    seen[rows] = total / SHADOW_RAYS
    return seen


def _sky_seen(hits: Hits, mesh: Any, sampler: Sampler, near: NDArray[np.bool_]) -> Array:
    """Cosine-weighted share of the hemisphere that is free within `SKY_REACH` metres (ambient occlusion)."""
    rows = np.flatnonzero(near & (hits.surface >= 0))
    seen = np.ones(len(near), np.float32)
    normal = hits.normal[rows]
    start = hits.point[rows] + hits.flat[rows] * OFFSET
    side, up = _frame(normal)
    reach = np.full(len(rows), SKY_REACH, np.float32)
    total = np.zeros(len(rows), np.float32)
    for k in range(SKY_RAYS):
        points = sampler.points(k, SKY_RAYS)[rows]
        radius, angle = np.sqrt(points[:, :1]), points[:, 1:] * np.float32(2 * np.pi)
        height = np.sqrt(1 - points[:, :1])
        direction = radius * (np.cos(angle) * side + np.sin(angle) * up) + height * normal
        total += mesh.caster.run(start, direction.astype(np.float32), reach, query="OCCLUDED") < 0
    seen[rows] = total / SKY_RAYS
    return seen


def _reflection(
    hits: Hits,
    mesh: Any,
    light: Light,
    sampler: Sampler,
    mirror: Array,
    rough: Array,
    lit: Array,
) -> Array:
    """What each hit mirrors, (n, 3): the nearest thing along the bounced ray, simply lit, or the room.

    Rough surfaces mirror an even glow; only smooth ones are worth a ray.
    """
    glow = np.broadcast_to(np.float32(light.sky) * 0.4, (len(mirror), 3)).astype(np.float32)
    rows = np.flatnonzero((mirror > 0.02) & (rough < 0.34))
    if not len(rows):
        return glow
    d, n = hits.direction[rows], hits.normal[rows]
    bounced = d - 2 * _dot(d, n)[:, None] * n
    blur = _square(16)[sampler.tile[rows].astype(np.int32)] * 2 - 1
    side, up = _frame(bounced)
    spread = (rough[rows] ** 2 * 0.9)[:, None]
    bounced += spread * (blur[:, :1] * side + blur[:, 1:] * up)
    bounced /= np.sqrt(_dot(bounced, bounced))[:, None]
    start = hits.point[rows] + hits.flat[rows] * OFFSET
    found = mesh.caster.run(start, bounced, output=1)
    met = found["primID"] >= 0
    triangle = found["primID"][met]
    bases = np.array([_mean(of) for of in mesh.materials], np.float32)
    facing = np.maximum(_dot(mesh.flat[triangle], np.float32(light.direction)), 0)[:, None]
    seen = bases[mesh.surface[triangle]] * (
        np.float32(light.sky) * 0.6 + np.float32(light.key) * facing * np.float32(0.75)
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
    out = level[:, None] * np.float32(light.sky)
    toward = np.clip(_dot(direction, np.float32(light.direction)), 0, 1)
    sharp = 12 + 500 * (1 - np.minimum(rough, 1)) ** 3
    glow = toward**sharp * (2 + 9 * (1 - rough)) * lit
    window = np.clip((0.16 - np.abs(direction[:, 0] + 0.55)) * 22, 0, 1) * np.clip(
        (0.22 - np.abs(z - 0.55)) * 18, 0, 1
    )
    bright = glow[:, None] * np.float32(light.key) + (window * 1.4)[:, None]
    return (out + bright).astype(np.float32)


def _schlick(hits: Hits) -> Array:
    cosine = np.clip(-_dot(hits.normal, hits.direction), 0, 1)
    x = 1 - cosine
    x2 = x * x
    return x2 * x2 * x


def _dot(a: Array, b: Array) -> Array:
    """Row-wise dot product of (n, 3) with (n, 3) or (3,); einsum stays out of BLAS and so is reproducible."""
    return np.einsum("ij,ij->i", a, b) if b.ndim == 2 else np.einsum("ij,j->i", a, b)


def _frame(n: Array) -> tuple[Array, Array]:
    """Two unit vectors orthogonal to n (k, 3) and to each other (Duff et al. 2017)."""
    sign = np.where(n[:, 2] >= 0, np.float32(1), np.float32(-1))
    a = -1 / (sign + n[:, 2])
    b = n[:, 0] * n[:, 1] * a
    one = np.stack([1 + sign * n[:, 0] ** 2 * a, sign * b, -sign * n[:, 0]], axis=1)
    two = np.stack([b, sign + n[:, 1] ** 2 * a, -n[:, 1]], axis=1)
    return one.astype(np.float32), two.astype(np.float32)


def _square(count: int) -> Array:
    """`count` well-spread points of the unit square, shuffled once (R2 sequence, Roberts 2018)."""
    index = np.arange(1, count + 1)
    points = np.stack([index * 0.7548776662466927, index * 0.5698402909980532], axis=1) % 1
    return points[np.random.default_rng(count).permutation(count)].astype(np.float32)


def _smooth(hits: Hits, size_hw: tuple[int, int], *fields: Array) -> list[Array]:
    """Mean of each field over the 4x4 pixels around, over pixels of the same surface that face the same way."""
    height, width = size_hw
    surface = hits.surface.reshape(height, width)
    normal = hits.normal.reshape(height, width, 3)
    stack = np.concatenate([f.reshape(height, width, -1) for f in fields], axis=2, dtype=np.float32)
    for axis in (0, 1):
        total, weight = stack.copy(), np.ones((height, width), np.float32)
        for step in (-1, 1, 2):
            here = [slice(None)] * 2
            there = [slice(None)] * 2
            here[axis] = slice(max(0, -step), size_hw[axis] - max(0, step))
            there[axis] = slice(max(0, step), size_hw[axis] + min(0, step))
            a, b = tuple(here), tuple(there)
            alike = (surface[a] == surface[b]) & (
                np.einsum("ijk,ijk->ij", normal[a], normal[b]) > 0.93
            )
            total[a] += stack[b] * alike[..., None]
            weight[a] += alike
        stack = total / weight[..., None]
    flat = stack.reshape(height * width, -1)
    out, at = [], 0
    for field in fields:
        size = 1 if field.ndim == 1 else field.shape[1]
        out.append(flat[:, at] if field.ndim == 1 else flat[:, at : at + size])
        at += size
    return out
