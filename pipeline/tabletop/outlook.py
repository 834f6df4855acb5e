"""What a surface point sees: the soft key light, the open sky, and the points of the first hits themselves.

Secondary rays are few: their directions come from one low-discrepancy table split over tiles of 4x4 pixels, and the
mean over such a tile, kept on one surface, has seen the whole table. Sub-pixel hits take over what the pixels
around them know.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.tabletop.graph import Light
from pipeline.tabletop.surface import vector

Array = NDArray[np.floating]
SKY_REACH = 0.3
"""How far away things still dim the sky, metres."""
OFFSET = np.float32(2e-4)
"""How far from a surface a secondary ray starts, metres."""
RAYS = 2
"""Rays per hit for the key light, and again for the sky."""


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
        normal = blend(mesh.normals, t, w)
        normal /= np.maximum(np.sqrt(dot(normal, normal)), 1e-9)[:, None]
        flat = mesh.flat[t]
        behind = dot(flat, direction) > 0
        flat[behind] *= -1
        normal[behind] *= -1
        return cls(
            triangle=triangle,
            surface=np.where(triangle >= 0, mesh.surface[t], np.int16(-1)),
            point=blend(mesh.corners, t, w),
            normal=normal,
            flat=flat,
            local=blend(mesh.local, t, w),
            direction=direction,
        )

    def rows(self, index: NDArray[np.int64]) -> "Hits":
        """Only the hits at `index`."""
        return Hits(
            triangle=self.triangle[index],
            surface=self.surface[index],
            point=self.point[index],
            normal=self.normal[index],
            flat=self.flat[index],
            local=self.local[index],
            direction=self.direction[index],
        )


def outlook(hits: Hits, *, mesh: Any, light: Light, tile: NDArray[np.int32]) -> tuple[Array, Array]:
    """Shares of the key light's disc and of the sky that each hit sees, (n,) each, in [0, 1], grainy.

    `tile` in 0..15 says which part of the direction tables a hit uses. The room behind the table sees everything.
    """
    near = (hits.point[:, 2] > -0.05) & (hits.surface >= 0)
    return _key_seen(hits, mesh, light, tile, near), _sky_seen(hits, mesh, tile, near)


def inherit(
    finer: Hits,
    *,
    of: NDArray[np.int64],
    hits: Hits,
    size_hw: tuple[int, int],
    fields: tuple[Array, ...],
) -> tuple[list[Array], NDArray[np.int64]]:
    """Values of `fields` (per pixel) for sub-pixel hits that lie in pixels `of`, and the rows that found none.

    A hit takes the values of the first pixel around it that shows the same surface at about the same angle.
    """
    height, width = size_hw
    row, column = np.divmod(of, width)
    source = np.full(len(of), -1)
    for dy, dx in ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, -1), (1, -1), (-1, 1)):
        todo = np.flatnonzero(source < 0)
        y = np.clip(row[todo] + dy, 0, height - 1)
        pixel = y * width + np.clip(column[todo] + dx, 0, width - 1)
        same = hits.surface[pixel] == finer.surface[todo]
        same &= dot(hits.normal[pixel], finer.normal[todo]) > 0.8
        source[todo[same]] = pixel[same]
    return [field[np.maximum(source, 0)] for field in fields], np.flatnonzero(source < 0)


def smooth(hits: Hits, size_hw: tuple[int, int], *fields: Array) -> list[Array]:
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


def dot(a: Array, b: Array) -> Array:
    """Row-wise dot product of (n, 3) with (n, 3) or (3,); einsum stays out of BLAS and so is reproducible."""
    return np.einsum("ij,ij->i", a, b) if b.ndim == 2 else np.einsum("ij,j->i", a, b)


def frame(n: Array) -> tuple[Array, Array]:
    """Two unit vectors orthogonal to n (k, 3) and to each other (Duff et al. 2017)."""
    sign = np.where(n[:, 2] >= 0, np.float32(1), np.float32(-1))
    a = -1 / (sign + n[:, 2])
    b = n[:, 0] * n[:, 1] * a
    one = np.stack([1 + sign * n[:, 0] ** 2 * a, sign * b, -sign * n[:, 0]], axis=1)
    two = np.stack([b, sign + n[:, 1] ** 2 * a, -n[:, 1]], axis=1)
    return one.astype(np.float32), two.astype(np.float32)


@cache
def square(count: int) -> Array:
    """`count` well-spread points of the unit square, shuffled once (R2 sequence, Roberts 2018)."""
    index = np.arange(1, count + 1)
    points = np.stack([index * 0.7548776662466927, index * 0.5698402909980532], axis=1) % 1
    return points[np.random.default_rng(count).permutation(count)].astype(np.float32)


def blend(corner_values: Array, triangle: NDArray[np.int32], w: Array) -> Array:
    """Corner values (f, 3, 3) of each `triangle` mixed by barycentric weights `w` (n, 3)."""
    values = corner_values[triangle]
    return values[:, 0] * w[:, :1] + values[:, 1] * w[:, 1:2] + values[:, 2] * w[:, 2:]


def _key_seen(
    hits: Hits, mesh: Any, light: Light, tile: NDArray[np.int32], near: NDArray[np.bool_]
) -> Array:
    """Share of the key light's disc that each hit sees."""
    direction = vector(light.direction)
    rows = np.flatnonzero((dot(hits.normal, direction) > 0) & near)
    seen = np.ones(len(near), np.float32)
    side, up = frame(direction[None])
    start = hits.point[rows] + hits.flat[rows] * OFFSET
    total = np.zeros(len(rows), np.float32)
    for k in range(RAYS):
        points = square(16 * RAYS)[tile[rows] + 16 * k]
        radius = np.sqrt(points[:, :1]) * np.float32(light.softness)
        angle = points[:, 1:] * np.float32(2 * np.pi)
        to_light = direction + radius * (np.cos(angle) * side + np.sin(angle) * up)
        total += mesh.caster.run(start, to_light.astype(np.float32), query="OCCLUDED") < 0
    seen[rows] = total / RAYS
    return seen


def _sky_seen(hits: Hits, mesh: Any, tile: NDArray[np.int32], near: NDArray[np.bool_]) -> Array:
    """Cosine-weighted share of the hemisphere that is free within `SKY_REACH` metres (ambient occlusion)."""
    rows = np.flatnonzero(near)
    seen = np.ones(len(near), np.float32)
    normal = hits.normal[rows]
    start = hits.point[rows] + hits.flat[rows] * OFFSET
    side, up = frame(normal)
    reach = np.full(len(rows), SKY_REACH, np.float32)
    total = np.zeros(len(rows), np.float32)
    for k in range(RAYS):
        points = square(16 * RAYS)[tile[rows] + 16 * k]
        radius, angle = np.sqrt(points[:, :1]), points[:, 1:] * np.float32(2 * np.pi)
        height = np.sqrt(1 - points[:, :1])
        direction = radius * (np.cos(angle) * side + np.sin(angle) * up) + height * normal
        total += mesh.caster.run(start, direction.astype(np.float32), reach, query="OCCLUDED") < 0
    seen[rows] = total / RAYS
    return seen
