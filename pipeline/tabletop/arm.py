"""The fixtures: the table, the room around it, and a robot arm that reaches over the far edge."""

import numpy as np
import trimesh

from pipeline.tabletop.graph import Piece, placed
from pipeline.tabletop.shapes import Rng
from pipeline.tabletop.solids import Floats, Part, ball, block, lathe, part
from pipeline.tabletop.surface import Material, linear

EYE3 = np.eye(3)
ORIGIN = np.zeros(3)
SHELLS = {"white": (228, 228, 226), "orange": (232, 110, 24), "black": (44, 45, 48)}
"""Colour name of an arm -> sRGB bytes of its shell."""

TABLES = tuple(
    Material(base=linear(base), second=linear(second), texture=texture, scale=scale, rough=rough)
    for base, second, texture, scale, rough in (
        ((196, 150, 104), (128, 86, 52), "planks", 0.14, 0.35),
        ((150, 104, 68), (84, 52, 34), "planks", 0.11, 0.3),
        ((222, 200, 168), (184, 152, 112), "planks", 0.17, 0.4),
        ((206, 206, 202), (186, 186, 184), "speckle", 0.21, 0.25),
        ((118, 124, 130), (96, 101, 108), "speckle", 0.15, 0.5),
        ((74, 92, 98), (60, 76, 82), "speckle", 0.12, 0.6),
    )
)
"""Table tops: three woods, a laminate, stone and painted steel."""
CLOTHS = (
    ((214, 218, 222), (96, 118, 146)),
    ((226, 222, 210), (150, 160, 140)),
    ((70, 74, 80), (88, 92, 98)),
)
"""The two sRGB colours of a chequered mat."""
WALLS = ((206, 204, 196), (178, 186, 192), (212, 200, 184), (160, 170, 164))


def room(rng: Rng) -> list[Piece]:
    """Table top at z = 0, sometimes with a mat, the floor under it and a wall behind."""
    top = TABLES[int(rng.integers(len(TABLES)))]
    depth, width = rng.uniform(0.92, 1.0), rng.uniform(1.5, 1.8)
    pieces = [
        placed(
            block((width, depth, 0.035), bevel=0.004), material=top, owner=-1, turn=EYE3,
            shift=np.array([0, 0, -0.035]),
        )
    ]  # fmt: skip
    if rng.random() < 0.3:
        base, second = CLOTHS[int(rng.integers(len(CLOTHS)))]
        mat = Material(
            base=linear(base), second=linear(second), texture="checks", scale=0.05, rough=0.9, reflect=0.01
        )  # fmt: skip
        cloth = block((0.96, 0.66, 0.002), bevel=0.0005)
        pieces.append(placed(cloth, material=mat, owner=-1, turn=EYE3, shift=np.array([0, 0, -0.0015])))  # fmt: skip
    wall = Material(
        base=linear(WALLS[int(rng.integers(len(WALLS)))]), second=linear((180, 178, 174)), texture="speckle",
        scale=1.7, rough=1.0, reflect=0.01,
    )  # fmt: skip
    floor = Material(
        base=linear((112, 108, 104)), second=linear((92, 88, 84)), texture="speckle", scale=0.9, rough=0.6,
        reflect=0.02,
    )  # fmt: skip
    back = block((8, 0.1, 4), bevel=0.01)
    ground = block((8, 6, 0.1), bevel=0.01)
    pieces += [
        placed(back, material=wall, owner=-1, turn=EYE3, shift=np.array([0, 1.5, -0.75])),
        placed(ground, material=floor, owner=-1, turn=EYE3, shift=np.array([0, 0, -0.85])),
    ]
    return pieces


def arm(colour: str, *, side: float, owner: int, rng: Rng) -> tuple[list[Piece], Floats]:
    """A five-link arm with a two-finger gripper at the far left (side -1) or right (+1), and its foot's xyz."""
    foot = np.array([side * rng.uniform(0.4, 0.5), rng.uniform(0.36, 0.4), 0.0])
    shoulder = foot + _at(0, 0, 0.13)
    elbow = shoulder + _at(
        side * rng.uniform(-0.02, 0.1), rng.uniform(-0.02, 0.04), rng.uniform(0.17, 0.22)
    )
    wrist = elbow + _at(
        -side * rng.uniform(0.17, 0.26), rng.uniform(-0.16, -0.08), rng.uniform(-0.02, 0.06)
    )
    hand = wrist + _at(-side * 0.02, -0.02, -0.09)
    shell = Material(base=linear(SHELLS[colour]), reflect=0.05, rough=0.12)
    joint = Material(base=linear((52, 54, 60)), reflect=0.04, rough=0.3)
    steel = Material(base=linear((176, 178, 184)), reflect=0.7, rough=0.25, metal=True)
    foot_plate = lathe([(0, 0), (0.075, 0), (0.075, 0.018), (0.055, 0.03), (0.05, 0.1), (0, 0.1)])
    world: list[tuple[Part, Material]] = [
        (foot_plate.moved(turn=EYE3, shift=foot), joint),
        (_link(foot + _at(0, 0, 0.07), shoulder, 0.05), shell),
        (ball(0.055, at=_xyz(shoulder)), joint),
        (_link(shoulder, elbow, 0.038), shell),
        (ball(0.046, at=_xyz(elbow)), joint),
        (_link(elbow, wrist, 0.032), shell),
        (ball(0.036, at=_xyz(wrist)), joint),
        (_link(wrist, hand, 0.026), shell),
    ]
    palm = hand - [0, 0, 0.03]
    world.append((block((0.085, 0.036, 0.026), at=_xyz(palm)), joint))
    opening = rng.uniform(0.016, 0.034)
    for sign in (-1.0, 1.0):
        tip = palm + _at(sign * opening, 0, -0.06)
        world.append((block((0.012, 0.024, 0.062), at=_xyz(tip), bevel=0.002), steel))
    pieces = [
        placed(piece, material=material, owner=owner, turn=EYE3, shift=ORIGIN)
        for piece, material in world
    ]
    return pieces, foot


def _link(start: Floats, stop: Floats, radius: float) -> Part:
    """A round bar from `start` to `stop`."""
    mesh = trimesh.creation.cylinder(radius=radius, segment=np.stack([start, stop]), sections=32)
    return part(mesh)


def _at(x: float, y: float, z: float) -> Floats:
    return np.array([x, y, z])


def _xyz(point: Floats) -> tuple[float, float, float]:
    return (float(point[0]), float(point[1]), float(point[2]))
