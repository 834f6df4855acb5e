"""The scene graph: what stands where on the table, before anything is drawn.

World frame: metres, z up, the table top at z = 0, the camera on the -y side. Everything that decides a picture or
the truth of a sentence is in these records; the renderer and the checker read the same ones.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.tabletop.lens import Camera
from pipeline.tabletop.solids import Floats, Part
from pipeline.tabletop.surface import Material

ARM = "robot arm"
"""The family of the robot, a fixture: nobody asks for it, and it is never simply "an object"."""

Pattern = Literal["plain", "striped", "dotted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """One object of the scene.

    `parent` is the index of the thing it lies "in" or "on" (`held`), None on the bare table. `base` is where it
    touches its support, `radius` the radius of its footprint about `base`, `extent` its largest side; metres.
    """

    index: int
    family: str
    colour: str
    finish: str
    pattern: Pattern
    base: tuple[float, float, float]
    radius: float
    extent: float
    parent: int | None = None
    held: Literal["in", "on", "table"] = "table"


@dataclass(frozen=True, slots=True, kw_only=True)
class Light:
    """A round soft key light far away and a sky. `direction` points to the light; `softness` is its angular radius."""

    direction: tuple[float, float, float]
    softness: float
    key: tuple[float, float, float]
    sky: tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Piece:
    """A part put in its place: `part` in world coordinates, `local` its corners (f, 3, 3) before that, for textures."""

    part: Part
    local: Floats
    material: Material
    owner: int
    """Index of the thing it belongs to; -1 for the table and the room."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """A whole scene; `things[i].index == i`."""

    things: tuple[Thing, ...]
    pieces: tuple[Piece, ...]
    camera: Camera
    light: Light
    grain_seed: int
    """Seed of the camera's sensor noise."""


def placed(
    part: Part, *, material: Material, owner: int, turn: Floats, shift: Floats, scale: float = 1.0
) -> Piece:
    """A part of a shape scaled, turned and shifted to its place in the world."""
    world = part.moved(turn=turn, shift=shift, scale=scale)
    return Piece(part=world, local=part.corners * scale, material=material, owner=owner)


def yaw_matrix(angle: float) -> Floats:
    """Rotation about z by `angle` radians."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
