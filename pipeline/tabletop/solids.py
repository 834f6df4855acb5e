"""Triangle soups with smooth normals: the solids that objects are composed of, all built by trimesh.

A solid keeps per-corner normals (smooth below a crease angle, sharp above it), so that a 40-sided mug shades round
and its rim stays crisp. Units are metres, z is up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import trimesh
from numpy.typing import NDArray

Floats = NDArray[np.float64]
CREASE_COS = float(np.cos(np.radians(42.0)))
SECTIONS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One piece of an object. `slot` names which of the object's materials covers it.

    corners (f, 3, 3): xyz of each triangle's corners, metres; normals (f, 3, 3): unit normals there, outwards.
    """

    corners: Floats
    normals: Floats
    slot: str

    def moved(self, *, turn: Floats, shift: Floats, scale: float = 1.0) -> "Part":
        """The part scaled, then turned by a (3, 3) rotation, then shifted by (3,) metres."""
        return Part(
            corners=(self.corners * scale) @ turn.T + shift,
            normals=self.normals @ turn.T,
            slot=self.slot,
        )


def part(mesh: trimesh.Trimesh, *, slot: str = "main") -> Part:
    """A mesh with normals averaged over the faces around each corner that bend by less than the crease angle."""
    faces, flat = np.asarray(mesh.faces), np.asarray(mesh.face_normals)
    weight = np.asarray(mesh.area_faces)
    corner_vertex = faces.ravel()
    order = np.argsort(corner_vertex, kind="stable")
    counts = np.bincount(corner_vertex, minlength=len(mesh.vertices))
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    repeats = counts[corner_vertex]
    corner = np.repeat(np.arange(len(corner_vertex)), repeats)
    within = np.arange(len(corner)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    other = order[starts[corner_vertex[corner]] + within] // 3
    alike = np.einsum("ij,ij->i", flat[corner // 3], flat[other]) > CREASE_COS
    share = flat[other] * (weight[other] * alike)[:, None]
    total = np.stack(
        [np.bincount(corner, share[:, k], minlength=len(corner_vertex)) for k in range(3)], axis=1
    )
    length = np.linalg.norm(total, axis=1, keepdims=True)
    smooth = np.where(length > 1e-15, total / np.maximum(length, 1e-15), np.repeat(flat, 3, axis=0))
    return Part(
        corners=np.asarray(mesh.vertices)[faces], normals=smooth.reshape(-1, 3, 3), slot=slot
    )


def lathe(
    profile: Sequence[tuple[float, float]], *, fillet: float = 0.003, slot: str = "main"
) -> Part:
    """A profile of (radius, height) points turned about z, its inner corners rounded by `fillet` metres (0: as it is).

    A profile that starts and ends on the axis gives a closed solid.
    """
    line = np.asarray(profile, float)
    line = _filleted(line, fillet) if fillet > 0 else line
    return part(trimesh.creation.revolve(line, sections=SECTIONS), slot=slot)


def block(
    size: tuple[float, float, float],
    *,
    at: tuple[float, float, float] = (0.0, 0.0, 0.0),
    bevel: float = 0.003,
    slot: str = "main",
) -> Part:
    """A box of `size` standing on `at` (centre of its base), its edges cut by `bevel` metres."""
    half = np.asarray(size, float) / 2
    signs, cuts, faces = _bevelled()
    vertices = signs * (half - bevel * cuts) + (at[0], at[1], at[2] + half[2])
    return part(trimesh.Trimesh(vertices, faces, process=False), slot=slot)


@cache
def _bevelled() -> tuple[Floats, Floats, NDArray[np.int64]]:
    """A box with cut edges: per vertex the signs of its half extents and which axes are cut back, and the faces."""
    octant = np.array(np.meshgrid([-1.0, 1.0], [-1.0, 1.0], [-1.0, 1.0])).reshape(3, -1).T
    signs, cuts = np.tile(octant, (3, 1)), np.repeat(1 - np.eye(3), 8, axis=0)
    points = signs * (1 - 0.1 * cuts)
    hull = trimesh.convex.convex_hull(points)
    nearest = np.linalg.norm(hull.vertices[:, None] - points[None], axis=2).argmin(axis=1)
    return signs, cuts, nearest[np.asarray(hull.faces)]


def ball(
    radius: float, *, at: tuple[float, float, float] = (0.0, 0.0, 0.0), slot: str = "main"
) -> Part:
    """A sphere centred on `at`."""
    mesh = trimesh.creation.icosphere(subdivisions=3, radius=radius)
    mesh.apply_translation(at)
    return part(mesh, slot=slot)


def tube(
    path: Floats, radii: float | Floats, *, squash: float = 1.0, slot: str = "main", sides: int = 16
) -> Part:
    """A round bar along a planar (n, 3) path in the xz plane, closed by rounded ends.

    `radii` is one value or one per point; `squash` scales the bar across the plane of the path (y).
    """
    radius = np.broadcast_to(np.asarray(radii, float), len(path))
    along = np.gradient(path, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    side = np.array([0.0, 1.0, 0.0])
    up = np.cross(along, side)
    angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    ring = (
        np.cos(angle)[None, :, None] * up[:, None] * radius[:, None, None]
        + np.sin(angle)[None, :, None] * side * radius[:, None, None] * squash
    )
    rings = path[:, None] + ring
    caps = [path[0] - along[0] * radius[0] * 0.5, path[-1] + along[-1] * radius[-1] * 0.5]
    vertices = np.concatenate([rings.reshape(-1, 3), caps])
    n = len(path)
    i, j = np.meshgrid(np.arange(n - 1), np.arange(sides), indexing="ij")
    a, b = i * sides + j, i * sides + (j + 1) % sides
    c, d = a + sides, b + sides
    walls = np.stack([np.stack([a, b, c], -1), np.stack([b, d, c], -1)]).reshape(-1, 3)
    k = np.arange(sides)
    first = np.stack([np.full(sides, n * sides), (k + 1) % sides, k], -1)
    last_row = (n - 1) * sides
    last = np.stack([np.full(sides, n * sides + 1), last_row + k, last_row + (k + 1) % sides], -1)
    mesh = trimesh.Trimesh(vertices, np.concatenate([walls, first, last]), process=False)
    if mesh.volume < 0:
        mesh.invert()
    return part(mesh, slot=slot)


def torus(major: float, minor: float, *, at_z: float, slot: str = "main") -> Part:
    """A ring lying flat, its centre circle of radius `major` at height `at_z`."""
    mesh = trimesh.creation.torus(
        major_radius=major, minor_radius=minor, major_sections=48, minor_sections=20
    )
    mesh.apply_translation([0, 0, at_z])
    return part(mesh, slot=slot)


def arc(
    centre: tuple[float, float], radius: float, start: float, stop: float, *, points: int = 14
) -> Floats:
    """A circular path in the xz plane from angle `start` to `stop` (degrees from +x towards +z)."""
    angle = np.radians(np.linspace(start, stop, points))
    return np.stack(
        [
            centre[0] + radius * np.cos(angle),
            np.zeros(points),
            centre[1] + radius * np.sin(angle),
        ],
        axis=1,
    )


def _filleted(line: Floats, radius: float) -> Floats:
    """Each inner point of the (n, 2) line replaced by a short quadratic curve."""
    points = [line[0]]
    for before, corner, after in zip(line[:-2], line[1:-1], line[2:], strict=True):
        to_before, to_after = before - corner, after - corner
        length_before, length_after = np.linalg.norm(to_before), np.linalg.norm(to_after)
        a = corner + to_before / length_before * min(radius, 0.45 * length_before)
        b = corner + to_after / length_after * min(radius, 0.45 * length_after)
        for t in (0.0, 0.33, 0.67, 1.0):
            points.append((1 - t) ** 2 * a + 2 * t * (1 - t) * corner + t**2 * b)
    points.append(line[-1])
    return np.asarray(points)
