"""Casting the rays: one scene to a picture, an id per pixel and what can be seen of each thing.

The ids are first hits of rays through pixel centres, so gold is exactly what the camera sees, occluded parts
excluded; the colour starts from the same rays and adds four more only where an edge crosses a pixel. Embree runs
single-threaded.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.tabletop.graph import Scene
from pipeline.tabletop.lens import Camera
from pipeline.tabletop.light import shade
from pipeline.tabletop.outlook import Array, Hits, inherit, outlook, smooth
from pipeline.tabletop.surface import Material, vector

SUBSAMPLES = ((-0.125, -0.375), (0.375, -0.125), (0.125, 0.375), (-0.375, 0.125))
"""A rotated grid: x, y offsets from the pixel centre in pixels."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Picture:
    """rgb uint8 (h, w, 3) sRGB; ids int16 (h, w): index of the thing whose surface the pixel centre sees, else -1."""

    rgb: NDArray[np.uint8]
    ids: NDArray[np.int16]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mesh:
    """A scene's triangles in flat float32 arrays, and the ray caster over them."""

    corners: NDArray[np.float32]
    normals: NDArray[np.float32]
    flat: NDArray[np.float32]
    local: NDArray[np.float32]
    owner: NDArray[np.int16]
    surface: NDArray[np.int16]
    materials: tuple[Material, ...]
    caster: Any


def build_mesh(scene: Scene) -> Mesh:
    """Concatenate the pieces of a scene and commit them to embree."""
    counts = [len(piece.local) for piece in scene.pieces]
    corners = np.concatenate([p.part.corners for p in scene.pieces]).astype(np.float32)
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    flat = cross / np.maximum(np.linalg.norm(cross, axis=1, keepdims=True), 1e-20)
    return Mesh(
        corners=corners,
        normals=np.concatenate([p.part.normals for p in scene.pieces]).astype(np.float32),
        flat=flat.astype(np.float32),
        local=np.concatenate([p.local for p in scene.pieces]).astype(np.float32),
        owner=np.repeat(np.array([p.owner for p in scene.pieces], np.int16), counts),
        surface=np.repeat(np.arange(len(counts), dtype=np.int16), counts),
        materials=tuple(p.material for p in scene.pieces),
        caster=_caster(corners),
    )


def cast_alone(
    corners: NDArray[np.floating],
    camera: Camera,
    *,
    columns: NDArray[np.floating],
    rows: NDArray[np.floating],
    size_hw: tuple[int, int],
) -> int:
    """How many of the image points (x = columns, y = rows, pixels) see triangles (f, 3, 3) that stand alone."""
    direction = camera.rays(columns, rows, size_hw=size_hw)
    origin = np.ascontiguousarray(np.broadcast_to(vector(camera.eye), direction.shape))
    missed = _caster(corners.astype(np.float32)).run(origin, direction, query="OCCLUDED")
    return int((missed == 0).sum())


def render(scene: Scene, *, size_hw: tuple[int, int]) -> Picture:
    """Draw a scene.

    The same scene and size give the same bytes on one machine, whatever process draws it.
    """
    height, width = size_hw
    mesh = build_mesh(scene)
    rows, columns = np.divmod(np.arange(height * width), width)
    hits = _hits(mesh, scene, columns + 0.5, rows + 0.5, size_hw=size_hw)
    tile = ((rows % 4) * 4 + columns % 4).astype(np.int32)
    seen = outlook(hits, mesh=mesh, light=scene.light, tile=tile)
    lit, sky = smooth(hits, size_hw, *seen)
    toned = _tone(
        shade(hits, mesh=mesh, light=scene.light, lit=lit, open_sky=sky, tile=tile, size_hw=size_hw)
    )
    edge = np.flatnonzero(_edges(hits, size_hw))
    toned[edge] = _finer(scene, mesh, hits, (lit, sky), edge, size_hw)
    ids = np.where(hits.triangle >= 0, mesh.owner[hits.triangle], -1).astype(np.int16)
    return Picture(
        rgb=_develop(toned, size_hw, seed=scene.grain_seed), ids=ids.reshape(height, width)
    )


def _finer(
    scene: Scene,
    mesh: Mesh,
    hits: Hits,
    fields: tuple[Array, Array],
    edge: NDArray[np.int64],
    size_hw: tuple[int, int],
) -> Array:
    """Display values (n, 3) of the pixels `edge`, each the mean over its sub-samples."""
    rows, columns = np.divmod(np.tile(edge, len(SUBSAMPLES)), size_hw[1])
    dx, dy = np.repeat(np.array(SUBSAMPLES), len(edge), axis=0).T
    finer = _hits(mesh, scene, columns + 0.5 + dx, rows + 0.5 + dy, size_hw=size_hw)
    turn = np.repeat(np.arange(len(SUBSAMPLES)) * 4, len(edge))
    tile = (((rows % 4) * 4 + columns % 4 + turn) % 16).astype(np.int32)
    of = rows * size_hw[1] + columns
    (lit, sky), orphans = inherit(finer, of=of, hits=hits, size_hw=size_hw, fields=fields)
    if len(orphans):
        seen = outlook(finer.rows(orphans), mesh=mesh, light=scene.light, tile=tile[orphans])
        lit[orphans], sky[orphans] = seen
    colour = shade(finer, mesh=mesh, light=scene.light, lit=lit, open_sky=sky, tile=tile)
    return _tone(colour).reshape(len(SUBSAMPLES), -1, 3).mean(axis=0)


def _caster(corners: NDArray[np.float32]) -> Any:
    import embreex.rtcore_scene as rtcore_scene
    from embreex.mesh_construction import TriangleMesh

    caster = rtcore_scene.EmbreeScene()
    TriangleMesh(caster, corners)
    return caster


def _cast(
    caster: Any, origin: NDArray[np.float32], direction: NDArray[np.float32]
) -> dict[str, NDArray[Any]]:
    origins = np.ascontiguousarray(np.broadcast_to(origin, direction.shape), np.float32)
    return caster.run(origins, direction, output=1)


def _hits(
    mesh: Mesh,
    scene: Scene,
    columns: NDArray[np.floating],
    rows: NDArray[np.floating],
    *,
    size_hw: tuple[int, int],
) -> Hits:
    direction = scene.camera.rays(columns, rows, size_hw=size_hw)
    found = _cast(mesh.caster, vector(scene.camera.eye), direction)
    return Hits.at(mesh, triangle=found["primID"], u=found["u"], v=found["v"], direction=direction)


def _edges(hits: Hits, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels next to another surface or across a crease; those alone are super-sampled."""
    surface = hits.surface.reshape(size_hw)
    normal = hits.normal.reshape(*size_hw, 3)
    edge = np.zeros(size_hw, bool)
    for a, b in (
        (np.s_[:, :-1], np.s_[:, 1:]),
        (np.s_[:-1, :], np.s_[1:, :]),
    ):
        differ = (surface[a] != surface[b]) | (np.einsum("ijk,ijk->ij", normal[a], normal[b]) < 0.8)
        edge[a] |= differ
        edge[b] |= differ
    return edge.ravel()


def _tone(linear: Array) -> Array:
    """Linear light to display values in [0, 1]: a filmic shoulder (Narkowicz 2015), then the sRGB curve.

    The shoulder works half on each channel and half on the brightest one, so that bright orange stays orange.
    """
    x = np.maximum(linear, 0) * np.float32(0.62)
    peak = np.maximum(x.max(axis=1, keepdims=True), 1e-6)
    x = 0.4 * _shoulder(x) + 0.6 * x * (_shoulder(peak) / peak)
    return np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** np.float32(1 / 2.4) - 0.055)


def _shoulder(x: Array) -> Array:
    return np.clip(x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14), 0, 1)


def _develop(
    toned: NDArray[np.float32], size_hw: tuple[int, int], *, seed: int
) -> NDArray[np.uint8]:
    """Vignette, sensor grain and rounding to bytes."""
    height, width = size_hw
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    shade_out = 1 - 0.09 * np.clip((x * x + y * y) - 0.5, 0, None)
    grain = np.random.default_rng(seed).standard_normal((height, width, 1), dtype=np.float32)
    image = toned.reshape(height, width, 3) * shade_out[..., None].astype(np.float32)
    return np.clip(image * 255 + grain * np.float32(1.1) + 0.5, 0, 255).astype(np.uint8)
