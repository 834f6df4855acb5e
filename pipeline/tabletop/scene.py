"""Sampling a scene: a casting of look-alikes, a place for each, things put in and on others, camera and light.

Everything is drawn from one numpy generator in a fixed order, so a scene is a function of its seed. A casting
repeats families and colours on purpose: instructions must need more than one word to be unambiguous.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.tabletop.arm import SHELLS, arm, room
from pipeline.tabletop.graph import ARM, Light, Pattern, Piece, Scene, Thing, placed, yaw_matrix
from pipeline.tabletop.lens import Camera
from pipeline.tabletop.shapes import BRIGHT, FAMILIES, Finish, Rng, build
from pipeline.tabletop.solids import Floats
from pipeline.tabletop.surface import Material, linear, material

HALF_X, HALF_Y = 0.37, 0.26
"""Half extents of the part of the table that objects are put on, metres."""
GAP = 0.012
"""Free space between footprints, metres."""
TIPPED = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
"""Turns z to x: an object lying on its side."""

BARE = Material(base=linear((196, 198, 202)), reflect=0.75, rough=0.18, metal=True)
SLOTS: dict[str, Material] = {
    "bare": BARE,
    "accent": Material(base=linear((42, 42, 46)), rough=0.3),
    "grip": Material(base=linear((38, 38, 40)), rough=0.45),
    "paper": Material(base=linear((238, 234, 220)), second=linear((200, 192, 172)), texture="card", rough=0.9),
    "stalk": Material(base=linear((92, 64, 36)), rough=0.8, reflect=0.01),
}  # fmt: skip
"""Materials of the parts that are not an object's main surface."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """One member of the casting, before it has a place."""

    family: str
    colour: str
    finish: Finish
    pattern: Pattern
    scale: float


@dataclass(slots=True)
class Floor:
    """Where things may still go: a rectangle in its own axes and the discs that are taken (x, y, radius).

    `view` is the camera and the image's width over height where spots must lie inside the picture.
    """

    half_x: float
    half_y: float
    taken: list[tuple[float, float, float]]
    view: tuple[Camera, float] | None = None

    def find(self, radius: float, *, rng: Rng, tries: int) -> tuple[float, float] | None:
        """A free spot for a disc of `radius`, or None."""
        room_x, room_y = self.half_x - radius, self.half_y - radius
        if room_x < 0 or room_y < 0:
            return None
        for _ in range(tries):
            x, y = float(rng.uniform(-room_x, room_x)), float(rng.uniform(-room_y, room_y))
            if self.view is not None and not _inside(x, y, radius, *self.view):
                continue
            if all(np.hypot(x - a, y - b) > radius + r + GAP for a, b, r in self.taken):
                self.taken.append((x, y, radius))
                return x, y
        return None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Perch:
    """A seat in the world: the thing that offers it, the relation, and the floor with its origin and yaw."""

    carrier: int
    relation: Literal["in", "on"]
    origin: Floats
    yaw: float
    floor: Floor


def sample_scene(rng: Rng, *, aspect: float = 4 / 3) -> Scene:
    """A scene with about six to thirteen objects for a picture of width over height `aspect`."""
    camera, light = _camera(rng), _light(rng)
    pieces = room(rng)
    table = Floor(half_x=HALF_X, half_y=HALF_Y, taken=[], view=(camera, aspect))
    things: list[Thing] = []
    perches: list[Perch] = []
    for role in _casting(rng):
        made = _stand(role, index=len(things), floor=table, rng=rng)
        if made is None:
            continue
        thing, new, perch = made
        things.append(thing)
        pieces += new
        if perch is not None:
            perches.append(perch)
    for perch in perches:
        for role in _cargo(things, perch.carrier, rng):
            made = _stand(role, index=len(things), floor=perch.floor, rng=rng, perch=perch)
            if made is not None:
                things.append(made[0])
                pieces += made[1]
    if rng.random() < 0.55:
        colour = list(SHELLS)[int(rng.integers(len(SHELLS)))]
        side = float(rng.choice([-1.0, 1.0]))
        new, foot = arm(colour, side=side, owner=len(things), rng=rng)
        pieces += new
        things.append(
            Thing(
                index=len(things), family=ARM, colour=colour, finish="painted", pattern="plain",
                base=(float(foot[0]), float(foot[1]), 0.0), radius=0.08, extent=0.5,
            )
        )  # fmt: skip
    return Scene(
        things=tuple(things),
        pieces=tuple(pieces),
        camera=camera,
        light=light,
        grain_seed=int(rng.integers(2**31)),
    )


def _inside(x: float, y: float, radius: float, camera: Camera, aspect: float) -> bool:
    """Whether a thing of that footprint, and about as tall as wide, lies inside the picture."""
    around = [(radius, 0, 0), (-radius, 0, 0), (0, radius, 0), (0, -radius, 0), (0, 0, 2 * radius)]
    pixels = camera.pixels(np.array([x, y, 0]) + np.array(around), size_hw=(100, 100))
    pixels[:, 0] += 50 * (aspect - 1)
    return bool((pixels > 2).all() and (pixels < [100 * aspect - 2, 98]).all())


def _casting(rng: Rng) -> list[Role]:
    """Roles for the bare table, wide ones first: some families twice or thrice, a few colours shared by many."""
    names = list(FAMILIES)
    chosen = [names[int(i)] for i in rng.permutation(len(names))[: int(rng.integers(5, 8))]]
    carriers = [n for n in ("bowl", "plate", "pan", "box", "tray", "book")]
    if not set(chosen) & set(carriers) or rng.random() < 0.5:
        chosen.append(carriers[int(rng.integers(len(carriers)))])
    palette = [BRIGHT[int(i)] for i in rng.permutation(len(BRIGHT))[: int(rng.integers(3, 6))]]
    roles: list[Role] = []
    for name in dict.fromkeys(chosen):
        wide = name in ("tray", "box", "pan")
        count = 1 + int(rng.random() < 0.55) + int(rng.random() < 0.2) if not wide else 1
        roles += [_role(name, palette, rng) for _ in range(count)]
    rank = {"tray": 0, "box": 0, "pan": 0, "plate": 1, "book": 1, "bowl": 2}
    return sorted(roles, key=lambda role: rank.get(role.family, 3))


def _cargo(things: list[Thing], carrier: int, rng: Rng) -> list[Role]:
    """What goes in or on a carrier: mostly one or two small things, half of them twins of things elsewhere."""
    family = things[carrier].family
    most = {"tray": 4, "box": 3, "cube": 1, "bowl": 2}.get(family, 2)
    empty = 0.65 if family == "cube" else 0.25
    if rng.random() < empty:
        return []
    small = [name for name, f in FAMILIES.items() if f.fits]
    if family in ("bowl", "pan", "plate"):
        small = ["ball", "cube", "apple", "banana", "ring"]
    if family == "cube":
        small = ["cube"]
    palette = sorted({t.colour for t in things if t.colour in BRIGHT}) or list(BRIGHT)
    roles = [
        _role(small[int(rng.integers(len(small)))], palette, rng)
        for _ in range(int(rng.integers(1, most + 1)))
    ]
    if family == "cube":
        roles = [_role("cube", palette, rng, scale=0.66)]
    return roles


def _role(name: str, palette: list[str], rng: Rng, *, scale: float | None = None) -> Role:
    family = FAMILIES[name]
    finish = family.finishes[int(rng.integers(len(family.finishes)))]
    allowed = [c for c in palette if c in family.colours] or list(family.colours)
    colour = allowed[int(rng.integers(len(allowed)))]
    if finish != "painted":
        colour = "silver" if finish == "metal" else "brown"
    pattern: Pattern = "plain"
    if family.patterned and finish == "painted" and colour != "white" and rng.random() < 0.3:
        pattern = "striped" if name in ("ball", "bowl", "cone") or rng.random() < 0.5 else "dotted"
    if scale is None:
        sizes = (0.78, 1.0, 1.0, 1.0, 1.25) if family.fits or name == "cone" else (0.95, 1.0, 1.05)
        scale = sizes[int(rng.integers(len(sizes)))]
    return Role(family=name, colour=colour, finish=finish, pattern=pattern, scale=scale)


def _stand(
    role: Role,
    *,
    index: int,
    floor: Floor,
    rng: Rng,
    perch: Perch | None = None,
) -> tuple[Thing, list[Piece], Perch | None] | None:
    """Build an object and find it a spot on the table or a perch; None when there is no room.

    The third value is the perch that it offers itself, if any: only things on the bare table carry others.
    """
    family = FAMILIES[role.family]
    shape = build(role.family, rng=rng)
    tipped = family.lies and rng.random() < 0.2
    yaw = float(rng.uniform(-np.pi, np.pi))
    if role.family in ("box", "tray", "book"):
        yaw = float(rng.uniform(-0.5, 0.5))
    turn = yaw_matrix(yaw) @ TIPPED if tipped else yaw_matrix(yaw)
    corners = np.concatenate([part.corners.reshape(-1, 3) for part in shape.parts]) * role.scale
    turned = corners @ turn.T
    centre = (turned.min(axis=0) + turned.max(axis=0)) / 2
    centre[2] = turned[:, 2].min()
    radius = float(np.hypot(*(turned - centre)[:, :2].T).max())
    packed = radius if perch is None else radius * 0.82
    spot = floor.find(packed, rng=rng, tries=40)
    if spot is None:
        return None
    base = np.array([spot[0], spot[1], 0.0])
    if perch is not None:
        base = yaw_matrix(perch.yaw) @ base + perch.origin
    paint = _paint(role, corners, rng)
    pieces = [
        placed(
            part, material=SLOTS.get(part.slot, paint), owner=index, turn=turn, shift=base - centre, scale=role.scale
        )
        for part in shape.parts
    ]  # fmt: skip
    offered = None
    if shape.seat is not None and not tipped and perch is None:
        seat, k = shape.seat, role.scale
        offered = Perch(
            carrier=index,
            relation=seat.relation,
            origin=base - centre + np.array([0, 0, seat.floor * k]),
            yaw=yaw,
            floor=Floor(half_x=seat.half_x * k, half_y=seat.half_y * k, taken=[]),
        )
    thing = Thing(
        index=index,
        family=role.family,
        colour=role.colour,
        finish=role.finish,
        pattern=role.pattern,
        base=_xyz(base),
        radius=radius,
        extent=float(np.ptp(corners, axis=0).max()),
        parent=None if perch is None else perch.carrier,
        held="table" if perch is None else perch.relation,
    )
    return thing, pieces, offered


def _paint(role: Role, corners: Floats, rng: Rng) -> Material:
    flat = role.family == "cube"
    radius = float(np.hypot(corners[:, 0], corners[:, 1]).max())
    girth = float(corners[:, 2].max()) / 2 if flat else radius * 0.9
    return material(role.colour, role.finish, pattern=role.pattern, girth=girth, flat=flat, rng=rng)


def _camera(rng: Rng) -> Camera:
    azimuth, elevation = np.radians(rng.uniform(-24, 24)), np.radians(rng.uniform(30, 50))
    distance = rng.uniform(0.86, 1.0)
    target = np.array([rng.uniform(-0.03, 0.03), rng.uniform(-0.02, 0.02), 0.03])
    eye = target + distance * np.array(
        [
            np.sin(azimuth) * np.cos(elevation),
            -np.cos(azimuth) * np.cos(elevation),
            np.sin(elevation),
        ]
    )
    return Camera(eye=_xyz(eye), target=_xyz(target), fov=float(rng.uniform(36, 40)))


def _light(rng: Rng) -> Light:
    azimuth, elevation = np.radians(rng.uniform(20, 160)), np.radians(rng.uniform(42, 68))
    if rng.random() < 0.5:
        azimuth = -azimuth
    direction = (
        np.cos(azimuth) * np.cos(elevation),
        np.sin(azimuth) * np.cos(elevation),
        np.sin(elevation),
    )
    warmth = rng.uniform(-1, 1)
    key = rng.uniform(1.75, 2.3) * np.array([1 + 0.05 * warmth, 1.0, 1 - 0.09 * warmth])
    sky = rng.uniform(0.62, 0.85) * np.array([0.97, 1.0, 1.05 - 0.04 * warmth])
    return Light(
        direction=_xyz(np.array(direction)),
        softness=float(rng.uniform(0.06, 0.2)),
        key=_xyz(key),
        sky=_xyz(sky),
    )


def _xyz(point: Floats) -> tuple[float, float, float]:
    return (float(point[0]), float(point[1]), float(point[2]))
