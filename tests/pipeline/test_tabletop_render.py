"""Rendering: ids against an analytic sphere and a slow ray caster, occlusion, and what is clear to see."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.tabletop.graph import Light, Scene, Thing, placed
from pipeline.tabletop.lens import Camera
from pipeline.tabletop.render import render
from pipeline.tabletop.scene import sample_scene
from pipeline.tabletop.sight import look
from pipeline.tabletop.solids import Part, ball, block
from pipeline.tabletop.surface import Material

SIZE = (90, 120)
CAMERA = Camera(eye=(0.0, -1.0, 0.5), target=(0.0, 0.0, 0.05), fov=40.0)
LIGHT = Light(direction=(0.5, -0.5, 0.7), softness=0.1, key=(2.0, 2.0, 2.0), sky=(0.7, 0.7, 0.7))


def scene_of(*parts: tuple[Part, tuple[float, float, float]]) -> Scene:
    red = Material(base=(0.6, 0.05, 0.05))
    things = tuple(
        Thing(
            index=i, family="ball", colour="red", finish="painted", pattern="plain", base=at, radius=0.05, extent=0.1
        )
        for i, (_, at) in enumerate(parts)
    )  # fmt: skip
    table = block((2, 1, 0.02), at=(0, 0, -0.02))
    pieces = [placed(table, material=red, owner=-1, turn=np.eye(3), shift=np.zeros(3))]
    pieces += [
        placed(part, material=red, owner=i, turn=np.eye(3), shift=np.array(at))
        for i, (part, at) in enumerate(parts)
    ]
    return Scene(things=things, pieces=tuple(pieces), camera=CAMERA, light=LIGHT, grain_seed=0)


def centres(size_hw: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rows, columns = np.divmod(np.arange(size_hw[0] * size_hw[1]), size_hw[1])
    return columns + 0.5, rows + 0.5


def test_the_ids_of_a_sphere_are_those_of_its_equation() -> None:
    radius, at = 0.08, (0.1, 0.05, 0.2)
    ids = render(scene_of((ball(radius), at)), size_hw=SIZE).ids
    x, y = centres(SIZE)
    direction = CAMERA.rays(x, y, size_hw=SIZE).astype(float)
    to_centre = np.subtract(at, CAMERA.eye)
    along = direction @ to_centre
    distance = np.sqrt(to_centre @ to_centre - along**2).reshape(SIZE)
    assert (ids[distance < radius * 0.985] == 0).all()
    assert (ids[distance > radius] == -1).all()
    assert (ids == 0).sum() > 100


@pytest.mark.slow
def test_the_ids_agree_with_a_slow_ray_caster() -> None:
    scene = sample_scene(np.random.default_rng(3))
    ids = render(scene, size_hw=SIZE).ids.ravel()
    corners = np.concatenate([piece.part.corners for piece in scene.pieces])
    owner = np.repeat([p.owner for p in scene.pieces], [len(p.local) for p in scene.pieces])
    rng = np.random.default_rng(0)
    x, y = centres(SIZE)
    agree = []
    for pixel in rng.choice(len(ids), 150, replace=False):
        direction = ray_through(scene, float(x[pixel]), float(y[pixel]))
        agree.append(owner[first_triangle(corners, np.array(scene.camera.eye), direction)] == ids[pixel])  # fmt: skip
    assert np.mean(agree) > 0.99


def ray_through(scene: Scene, x: float, y: float) -> NDArray[np.float64]:
    """The ray through an image point by solving the projection equation, not by the renderer's formula."""
    right, down, forward = scene.camera.axes()
    tangent = np.tan(np.radians(scene.camera.fov) / 2)
    v = (y / SIZE[0] * 2 - 1) * tangent
    u = (x / SIZE[1] * 2 - 1) * tangent * SIZE[1] / SIZE[0]
    return forward + u * right + v * down


def first_triangle(
    corners: NDArray[np.float64], origin: NDArray[np.float64], ray: NDArray[np.float64]
) -> int:
    """Möller-Trumbore over all triangles in float64."""
    a, e1, e2 = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    p = np.cross(ray, e2)
    det = np.einsum("ij,ij->i", e1, p)
    ok = np.abs(det) > 1e-15
    inv = np.where(ok, 1 / np.where(ok, det, 1), 0)
    s = origin - a
    u = np.einsum("ij,ij->i", s, p) * inv
    q = np.cross(s, e1)
    v = (q @ ray) * inv
    t = np.einsum("ij,ij->i", e2, q) * inv
    hit = ok & (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0)
    assert hit.any()
    return int(np.where(hit, t, np.inf).argmin())


def test_a_hidden_part_belongs_to_what_hides_it() -> None:
    front, back = (block((0.3, 0.02, 0.155)), (0.0, -0.1, 0.0)), (ball(0.06), (0.0, 0.1, 0.06))
    alone = look(scene := scene_of(back), render(scene, size_hw=SIZE).ids).sights[0]
    both = scene_of(front, back)
    view = look(both, render(both, size_hw=SIZE).ids)
    assert alone.pixels == alone.whole > 50
    assert view.sights[1].whole == alone.whole
    assert view.sights[1].pixels < alone.pixels
    assert not view.sights[1].clear


def test_what_can_be_seen_is_counted_in_the_picture_only() -> None:
    scene = scene_of((ball(0.05), (0.0, 0.0, 0.05)), (ball(0.05), (3.0, 0.0, 0.05)))
    picture = render(scene, size_hw=SIZE)
    view = look(scene, picture.ids)
    assert view.sights[0].clear
    assert view.sights[0].inside == 1
    assert view.sights[1].pixels == view.sights[1].whole == 0
    assert not view.sights[1].clear
    x0, y0, x1, y1 = view.sights[0].box
    outside = picture.ids.copy()
    outside[int(y0) : int(y1), int(x0) : int(x1)] = -1
    assert not (outside == 0).any()


def test_a_point_projects_onto_the_pixel_whose_ray_hits_it() -> None:
    points = np.array([[0.1, 0.0, 0.0], [-0.2, 0.3, 0.1]])
    pixels = CAMERA.pixels(points, size_hw=SIZE)
    rays = CAMERA.rays(pixels[:, 0], pixels[:, 1], size_hw=SIZE)
    true = points - CAMERA.eye
    np.testing.assert_allclose(rays, true / np.linalg.norm(true, axis=1, keepdims=True), atol=1e-6)


def test_things_cast_shadows_and_light_falls_where_it_should() -> None:
    bare = render(scene_of(), size_hw=SIZE).rgb.astype(int)
    shaded = render(scene_of((block((0.1, 0.1, 0.2)), (0.1, -0.1, 0.0))), size_hw=SIZE)
    dark = (shaded.rgb.astype(int).sum(axis=2) < 0.8 * bare.sum(axis=2)) & (shaded.ids == -1)
    assert dark.sum() > 50
    assert (
        np.nonzero(dark)[1].mean() < np.nonzero(shaded.ids == 0)[1].mean()
    )  # light from the right


def test_a_lit_ball_has_no_black_pixels_at_its_rim() -> None:
    scene = scene_of((ball(0.1), (0.0, 0.0, 0.1)))
    picture = render(scene, size_hw=SIZE)
    assert picture.rgb[picture.ids == 0].max(axis=1).min() > 15
