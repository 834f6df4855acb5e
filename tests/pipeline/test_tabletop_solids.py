"""Shapes: every family can be built, stands on the table and is made of closed, outward-facing parts."""

import numpy as np
import pytest
import trimesh

from pipeline.tabletop.shapes import FAMILIES, build
from pipeline.tabletop.solids import ball, block, part

SHELLS = {"can"}  # its wall and ends are open sheets that meet


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_every_family_stands_on_the_table_and_has_a_sensible_size(name: str) -> None:
    for seed in range(3):
        shape = build(name, rng=np.random.default_rng(seed))
        corners = np.concatenate([p.corners.reshape(-1, 3) for p in shape.parts])
        assert abs(corners[:, 2].min()) < 1e-3
        assert 0.04 < np.ptp(corners, axis=0).max() < 0.4


@pytest.mark.parametrize("name", sorted(set(FAMILIES) - SHELLS))
def test_the_parts_of_a_family_are_closed_and_face_outwards(name: str) -> None:
    for piece in build(name, rng=np.random.default_rng(0)).parts:
        faces = np.arange(len(piece.corners) * 3).reshape(-1, 3)
        mesh = trimesh.Trimesh(piece.corners.reshape(-1, 3), faces)
        mesh.merge_vertices()
        assert mesh.is_watertight
        assert mesh.volume > 0


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_normals_are_unit_and_close_to_their_triangle(name: str) -> None:
    for piece in build(name, rng=np.random.default_rng(1)).parts:
        np.testing.assert_allclose(np.linalg.norm(piece.normals, axis=2), 1, atol=1e-9)
        edges = np.diff(piece.corners, axis=1)
        flat = np.cross(edges[:, 0], edges[:, 1])
        area = np.linalg.norm(flat, axis=1)
        lean = np.einsum("ijk,ik->ij", piece.normals, flat)[area > 1e-12]
        assert (lean > 0.5 * area[area > 1e-12, None]).mean() > 0.99


def test_a_ball_shades_round_and_a_box_keeps_its_edges() -> None:
    round_one = ball(0.05)
    centred = round_one.corners / np.linalg.norm(round_one.corners, axis=2, keepdims=True)
    assert (np.einsum("ijk,ijk->ij", centred, round_one.normals) > 0.999).all()
    edges = trimesh.creation.box((1, 1, 1))
    sharp = np.abs(part(edges).normals).max(axis=2)
    np.testing.assert_allclose(sharp, 1)


def test_a_block_has_the_size_it_was_asked_for() -> None:
    corners = block((0.3, 0.2, 0.1), at=(1.0, 2.0, 3.0)).corners.reshape(-1, 3)
    np.testing.assert_allclose(corners.min(axis=0), [0.85, 1.9, 3.0], atol=1e-9)
    np.testing.assert_allclose(corners.max(axis=0), [1.15, 2.1, 3.1], atol=1e-9)
