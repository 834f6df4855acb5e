"""What the camera sees of each thing: the facts that a sentence about the picture may lean on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.tabletop.graph import Piece, Scene, Thing
from pipeline.tabletop.render import cast_alone

CLEAR_PIXELS, CLEAR_SHARE = 150 / (360 * 480), 0.35
"""A thing is clear when it covers this share of the picture and this share of what it would cover alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """One thing as seen: `pixels` visible and `whole` if nothing else were there, both inside the picture.

    `box` XYXY px and `centre` (x, y) px are of the visible pixels, zeros when there are none; `inside` is the share
    of its corners that project into the picture; `clear` says that it can be asked for.
    """

    pixels: int
    whole: int
    box: tuple[float, float, float, float]
    centre: tuple[float, float]
    inside: float
    clear: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A scene as the viewer knows it: things, sights, and their place on the table in the viewer's frame.

    `across[i]` metres to the viewer's right, `away[i]` metres away from the viewer; `size_hw` px of the picture.
    """

    things: tuple[Thing, ...]
    sights: tuple[Sight, ...]
    across: tuple[float, ...]
    away: tuple[float, ...]
    size_hw: tuple[int, int]


def look(scene: Scene, ids: NDArray[np.int16]) -> View:
    """The view that goes with a picture's ids, int16 (h, w)."""
    height, width = ids.shape
    right, away = scene.camera.ground()
    bases = np.array([thing.base[:2] for thing in scene.things]).reshape(-1, 2)
    return View(
        things=scene.things,
        sights=tuple(_sight(scene, thing, ids) for thing in scene.things),
        across=tuple(float(v) for v in bases @ right),
        away=tuple(float(v) for v in bases @ away),
        size_hw=(height, width),
    )


def _sight(scene: Scene, thing: Thing, ids: NDArray[np.int16]) -> Sight:
    size_hw = (ids.shape[0], ids.shape[1])
    pieces = [piece for piece in scene.pieces if piece.owner == thing.index]
    points = np.concatenate([piece.part.corners.reshape(-1, 3) for piece in pieces])
    pixels = scene.camera.pixels(points, size_hw=size_hw)
    inside = ((pixels >= 0) & (pixels < [size_hw[1], size_hw[0]])).all(axis=1).mean()
    rows, columns = np.nonzero(ids == thing.index)
    seen = len(rows)
    whole = _whole(scene, thing, pieces, pixels, ids)
    clear = seen >= max(8, CLEAR_PIXELS * ids.size) and seen >= CLEAR_SHARE * whole
    if not seen:
        return Sight(
            pixels=0,
            whole=whole,
            box=(0, 0, 0, 0),
            centre=(0, 0),
            inside=float(inside),
            clear=False,
        )
    box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    return Sight(
        pixels=seen,
        whole=whole,
        box=(float(box[0]), float(box[1]), float(box[2]), float(box[3])),
        centre=(float(columns.mean() + 0.5), float(rows.mean() + 0.5)),
        inside=float(inside),
        clear=bool(clear and inside > 0.8),
    )


def _whole(
    scene: Scene,
    thing: Thing,
    pieces: list[Piece],
    pixels: NDArray[np.float64],
    ids: NDArray[np.int16],
) -> int:
    """Pixel centres that would see the thing if it stood alone; `pixels` (n, 2) are its projected corners."""
    size_hw = (ids.shape[0], ids.shape[1])
    low = np.clip(np.floor(pixels.min(axis=0)), 0, [size_hw[1], size_hw[0]]).astype(int)
    high = np.clip(np.ceil(pixels.max(axis=0)), 0, [size_hw[1], size_hw[0]]).astype(int)
    around = ids[low[1] : high[1], low[0] : high[0]]
    if not ((around >= 0) & (around != thing.index)).any():
        return int(
            (around == thing.index).sum()
        )  # only the table and the room are near: nothing hides it
    columns, rows = np.meshgrid(np.arange(low[0], high[0]), np.arange(low[1], high[1]))
    corners = np.concatenate([piece.part.corners for piece in pieces])
    return cast_alone(
        corners,
        scene.camera,
        columns=columns.ravel() + 0.5,
        rows=rows.ravel() + 0.5,
        size_hw=size_hw,
    )
