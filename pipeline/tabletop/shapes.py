"""The object families: what each looks like, how it may be coloured and what it can carry.

A family is one builder of parts from a generator plus the facts that placement and language need. Objects stand on
z = 0 around the z axis, in metres. A *seat* is where other objects can be put: "in" for containers, "on" for flats.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.tabletop.solids import Part, arc, ball, block, lathe, torus, tube

Rng = np.random.Generator
Finish = Literal["painted", "metal", "wooden", "cardboard"]

BRIGHT = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white", "black")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """A place to put things: relation "in" or "on", floor height and half extents of the free floor in metres."""

    relation: Literal["in", "on"]
    floor: float
    half_x: float
    half_y: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The geometry of one object at its drawn proportions."""

    parts: tuple[Part, ...]
    seat: Seat | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One kind of object.

    `colours` are those it may be painted in, `finishes` its possible materials; `patterned` families may wear
    stripes or dots; `lies` ones may lie on their side; `fits` families are small enough to be put on a seat.
    """

    name: str
    plural: str
    build: Callable[[Rng], Shape]
    colours: tuple[str, ...] = BRIGHT
    finishes: tuple[Finish, ...] = ("painted",)
    patterned: bool = False
    lies: bool = False
    fits: bool = False


def _u(rng: Rng, low: float, high: float) -> float:
    return float(rng.uniform(low, high))


def _mug(rng: Rng) -> Shape:
    r, h, t = _u(rng, 0.038, 0.045), _u(rng, 0.085, 0.1), 0.004
    body = lathe([(0, 0), (r, 0), (r, h), (r - t, h), (r - t, 0.006), (0, 0.006)])
    handle = tube(arc((r - 0.003, h * 0.52), h * 0.29, -88, 88), 0.0062, squash=1.15)
    return Shape(parts=(body, handle))


def _bowl(rng: Rng) -> Shape:
    r, h, t = _u(rng, 0.078, 0.1), _u(rng, 0.05, 0.062), 0.004
    outer = [(0, 0), (r * 0.5, 0), (r * 0.53, 0.006), (r * 0.8, h * 0.35), (r, h)]
    inner = [(r - t, h), (r * 0.78 - t, h * 0.38), (r * 0.5, 0.012), (0, 0.012)]
    seat = Seat(relation="in", floor=0.013, half_x=r * 0.47, half_y=r * 0.47)
    return Shape(parts=(lathe(outer + inner, fillet=0.008),), seat=seat)


def _plate(rng: Rng) -> Shape:
    r, h = _u(rng, 0.1, 0.125), 0.02
    profile = [(0, 0), (r * 0.62, 0), (r, h), (r - 0.002, h + 0.003), (r * 0.66, 0.007), (0, 0.006)]
    seat = Seat(relation="on", floor=0.0065, half_x=r * 0.44, half_y=r * 0.44)
    return Shape(parts=(lathe(profile, fillet=0.004),), seat=seat)


def _bottle(rng: Rng) -> Shape:
    r, h = _u(rng, 0.031, 0.037), _u(rng, 0.2, 0.24)
    neck = r * 0.4
    body = [(0, 0), (r, 0), (r, h * 0.58), (neck, h * 0.8), (neck, h * 0.92), (0, h * 0.92)]
    cap = [(0, h * 0.9), (neck * 1.2, h * 0.9), (neck * 1.2, h), (0, h)]
    return Shape(parts=(lathe(body, fillet=0.014), lathe(cap, fillet=0.002, slot="accent")))


def _can(rng: Rng) -> Shape:
    r, h = 0.033, _u(rng, 0.1, 0.12)
    wall = lathe([(r, 0.006), (r, h - 0.008), (r * 0.88, h - 0.001)], fillet=0.003)
    metal = [(0, 0.002), (r * 0.8, 0), (r, 0.006), (r * 0.99, 0.0065)]
    lid = [(r * 0.88, h - 0.001), (r * 0.87, h + 0.001), (r * 0.83, h - 0.004), (0, h - 0.004)]
    ends = [lathe(line, fillet=0.001, slot="bare") for line in (metal, lid)]
    return Shape(parts=(wall, *ends))


def _ball(rng: Rng) -> Shape:
    r = _u(rng, 0.03, 0.042)
    return Shape(parts=(ball(r, at=(0, 0, r)),))


def _cube(rng: Rng) -> Shape:
    a = _u(rng, 0.055, 0.07)
    seat = Seat(relation="on", floor=a, half_x=a * 0.48, half_y=a * 0.48)
    return Shape(parts=(block((a, a, a)),), seat=seat)


def _ring(rng: Rng) -> Shape:
    minor = _u(rng, 0.011, 0.015)
    return Shape(parts=(torus(_u(rng, 0.042, 0.052), minor, at_z=minor),))


def _pan(rng: Rng) -> Shape:
    r, h, t = _u(rng, 0.1, 0.12), 0.042, 0.004
    body = lathe([(0, 0), (r * 0.86, 0), (r, h), (r - t, h), (r * 0.84, 0.005), (0, 0.005)])
    x = np.linspace(r - 0.006, r + 0.15, 8)
    path = np.stack([x, np.zeros(8), h - 0.008 + np.linspace(0, 0.022, 8)], axis=1)
    handle = tube(path, 0.0085, squash=1.5, slot="grip")
    seat = Seat(relation="in", floor=0.0055, half_x=r * 0.58, half_y=r * 0.58)
    return Shape(parts=(body, handle), seat=seat)


def _box(rng: Rng) -> Shape:
    x, y, z, t = _u(rng, 0.2, 0.25), _u(rng, 0.15, 0.19), _u(rng, 0.07, 0.09), 0.005
    sides = [
        block((x, t, z), at=(0, sign * (y - t) / 2, 0), bevel=0.001) for sign in (-1.0, 1.0)
    ] + [
        block((t, y - 2 * t, z), at=(sign * (x - t) / 2, 0, 0), bevel=0.001) for sign in (-1.0, 1.0)
    ]
    base = block((x - 2 * t, y - 2 * t, t), bevel=0.001)
    seat = Seat(relation="in", floor=t, half_x=x / 2 - 0.012, half_y=y / 2 - 0.012)
    return Shape(parts=(base, *sides), seat=seat)


def _cone(rng: Rng) -> Shape:
    r, h = _u(rng, 0.042, 0.05), _u(rng, 0.12, 0.15)
    body = lathe([(0, 0.004), (r, 0.004), (0.007, h), (0, h)], fillet=0.002)
    return Shape(parts=(body, block((r * 2.5, r * 2.5, 0.009))))


def _tray(rng: Rng) -> Shape:
    x, y, z, t = _u(rng, 0.27, 0.33), _u(rng, 0.19, 0.23), 0.024, 0.008
    base = block((x, y, 0.007), bevel=0.002)
    long = [block((x, t, z), at=(0, s * (y - t) / 2, 0), bevel=0.002) for s in (-1.0, 1.0)]
    short = [block((t, y, z), at=(s * (x - t) / 2, 0, 0), bevel=0.002) for s in (-1.0, 1.0)]
    seat = Seat(relation="on", floor=0.0072, half_x=x / 2 - 0.014, half_y=y / 2 - 0.014)
    return Shape(parts=(base, *long, *short), seat=seat)


def _vase(rng: Rng) -> Shape:
    r, h, t = _u(rng, 0.05, 0.06), _u(rng, 0.16, 0.2), 0.004
    z = np.linspace(0, 1, 15)
    radius = r * (0.62 + 0.38 * np.sin(np.pi * np.clip(z / 0.72, 0, 1)) - 0.26 * (z > 0.72))
    radius[z > 0.72] = r * (0.62 - 0.17 * np.sin(np.pi * (z[z > 0.72] - 0.72) / 0.36))
    outer = [(float(a), float(b)) for a, b in zip(radius, z * h, strict=True)]
    inner = [(max(a - t, 0.004), max(b, 0.006)) for a, b in reversed(outer)]
    return Shape(parts=(lathe([(0, 0), *outer, *inner[:-1], (0, 0.006)], fillet=0),))


def _book(rng: Rng) -> Shape:
    x, y, z = _u(rng, 0.125, 0.15), _u(rng, 0.18, 0.21), _u(rng, 0.022, 0.036)
    cover = 0.003
    pages = block((x - 0.008, y - 0.01, z - 2 * cover), at=(0.001, 0, cover), slot="paper")
    boards = [block((x, y, cover), at=(0, 0, h), bevel=0.001) for h in (0.0, z - cover)]
    spine = block((cover, y, z), at=(-x / 2 + cover / 2, 0, 0), bevel=0.001)
    seat = Seat(relation="on", floor=z, half_x=x * 0.45, half_y=y * 0.45)
    return Shape(parts=(pages, *boards, spine), seat=seat)


def _banana(rng: Rng) -> Shape:
    path = arc((0.0, 0.0), _u(rng, 0.085, 0.1), 205, 335, points=22)
    s = np.linspace(-1, 1, 22)
    radius = 0.0175 * np.clip(1 - np.abs(s) ** 4.5, 0, 1) + 0.0042
    bar = tube(path, radius)
    flat = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    low = np.array([0, 0, 0.0214])
    shift = low - np.array([0, float((bar.corners @ flat.T)[..., 1].mean()), 0])
    return Shape(parts=(bar.moved(turn=flat, shift=shift),))


def _apple(rng: Rng) -> Shape:
    r = _u(rng, 0.034, 0.04)
    a = np.linspace(-np.pi / 2, np.pi / 2, 20)
    dent = 0.34 * np.exp(-(((a - np.pi / 2) / 0.42) ** 2)) + 0.16 * np.exp(
        -(((a + np.pi / 2) / 0.35) ** 2)
    ) * np.sign(-a)
    radius = r * np.cos(a) * (1 + 0.07 * np.sin(a))
    height = r * (np.sin(a) * 0.92 - np.where(a > 0, dent, -dent))
    radius[[0, -1]] = 0
    height -= height.min()
    body = lathe([(float(x), float(z)) for x, z in zip(radius, height, strict=True)], fillet=0)
    top = float(height[-1])
    stalk = np.array([[0, 0, top - 0.004], [0.001, 0, top + 0.01], [0.004, 0, top + 0.022]])
    return Shape(parts=(body, tube(stalk, 0.0018, slot="stalk", sides=8)))


PAINT_METAL: tuple[Finish, ...] = ("painted", "painted", "metal")
PAINT_WOOD: tuple[Finish, ...] = ("painted", "painted", "painted", "wooden")

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(name="mug", plural="mugs", build=_mug, patterned=True, finishes=PAINT_METAL, fits=True),
        Family(name="bowl", plural="bowls", build=_bowl, patterned=True, finishes=(*PAINT_METAL, "wooden")),
        Family(name="plate", plural="plates", build=_plate),
        Family(name="bottle", plural="bottles", build=_bottle, lies=True, fits=True),
        Family(name="can", plural="cans", build=_can, lies=True, patterned=True, fits=True),
        Family(name="ball", plural="balls", build=_ball, patterned=True, finishes=PAINT_METAL, fits=True),
        Family(name="cube", plural="cubes", build=_cube, patterned=True, finishes=PAINT_WOOD, fits=True),
        Family(name="ring", plural="rings", build=_ring, finishes=PAINT_METAL, fits=True),
        Family(name="pan", plural="pans", build=_pan, colours=("black", "red", "blue"), finishes=PAINT_METAL),
        Family(name="box", plural="boxes", build=_box, finishes=("cardboard", "painted", "wooden")),
        Family(name="cone", plural="cones", build=_cone, patterned=True),
        Family(name="tray", plural="trays", build=_tray, finishes=(*PAINT_METAL, "wooden")),
        Family(name="vase", plural="vases", build=_vase, patterned=True),
        Family(name="book", plural="books", build=_book),
        Family(name="banana", plural="bananas", build=_banana, colours=("yellow",), fits=True),
        Family(name="apple", plural="apples", build=_apple, colours=("red", "green"), fits=True),
    )
}  # fmt: skip
"""Family name -> family."""


def build(name: str, *, rng: Rng) -> Shape:
    """An object of a family with proportions drawn from `rng`."""
    return FAMILIES[name].build(rng)
