"""Regions of a picture and what each looks like: the material from which targets are chosen.

Regions come from several partitions of one view: graph segmentation (Felzenszwalb and Huttenlocher 2004) at a fine and
a coarse scale, the pieces of the named colour, the pieces that stand out. Statistics are sums over pixels, so no region
needs a mask of its own until it is chosen.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from annotators.classical.colour_map import colour_map
from annotators.classical.saliency_map import saliency_map
from annotators.classical.view import Map, View, smooth
from annotators.masks import BoolMask

Floats = NDArray[np.float64]
Size = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layer:
    """What a view looks like before any phrase: saliency and two partitions."""

    view: View
    saliency: Map
    partitions: tuple[NDArray[np.int32], ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pool:
    """Regions, each entry of an array being one.

    `where` gives partition and number; `area` and `border` are shares of the view's pixels and of its outermost pixels
    that a region holds, `edge` the share of the region's box sides that lie on the frame; `box` (n, 4) XYXY in pixels
    of the view; `x`, `y` centroids as shares of width and height; `salient` and `colour` means over the region.
    """

    partitions: tuple[NDArray[np.int32], ...]
    where: NDArray[np.int64]
    area: Floats
    edge: Floats
    box: Floats
    x: Floats
    y: Floats
    salient: Floats
    colour: Floats

    def mask(self, index: int) -> BoolMask:
        """Boolean mask of region `index` at the view's size."""
        partition, number = self.where[index]
        return self.partitions[partition] == number


def make_layer(view: View, *, scales: Sequence[float]) -> Layer:
    """Saliency and one graph segmentation per scale of a view."""
    from skimage.segmentation import felzenszwalb

    least = max(4, round(view.lab.shape[0] * view.lab.shape[1] * 0.001))
    partitions = tuple(
        felzenszwalb(view.lab, scale=scale, sigma=0.8, min_size=least, channel_axis=-1).astype(
            np.int32
        )
        for scale in scales
    )
    return Layer(view=view, saliency=saliency_map(view), partitions=partitions)


class Layers:
    """Layers of the last few views: the instructions of one photograph come one after another.

    Args:
        scales: as in `make_layer`.
        most: how many are kept.
    """

    def __init__(self, *, scales: Sequence[float], most: int = 4) -> None:
        self._scales, self._most = tuple(scales), most
        self._kept: OrderedDict[tuple[Size, bytes], Layer] = OrderedDict()

    def of(self, view: View) -> Layer:
        """The layer of a view; made anew where it was not asked for lately."""
        key = (view.size_hw, hashlib.sha256(view.rgb.tobytes()).digest())
        layer = self._kept.pop(key, None)
        self._kept[key] = layer = layer or make_layer(view, scales=self._scales)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return layer


def make_pool(layer: Layer, colours: Sequence[str]) -> Pool:
    """The regions of `layer` and, with `colours`, the pieces that have one of them."""
    saliency = layer.saliency
    partitions = list(layer.partitions)
    mean = float(saliency.mean())
    for factor in (1.5, 2.5, 4.0):
        if mean > 0.01 and factor * mean < 0.95:
            partitions.append(_numbered(saliency >= factor * mean))
    fit = np.zeros_like(saliency)
    if colours:
        fit = smooth(colour_map(layer.view.lab, colours), 0.8)
        partitions += [_numbered(fit >= 0.5), _numbered(_closed(fit >= 0.35))]
    tables = [_measure(number, p, saliency, fit) for number, p in enumerate(partitions)]
    table = np.concatenate(tables)
    return Pool(
        partitions=tuple(partitions),
        where=table[:, :2].astype(np.int64),
        area=table[:, 2],
        edge=table[:, 3],
        box=table[:, 4:8],
        x=table[:, 8],
        y=table[:, 9],
        salient=table[:, 10],
        colour=table[:, 11],
    )


def _measure(
    partition: int, numbers: NDArray[np.int32], saliency: Map, fit: Map
) -> NDArray[np.float64]:
    """One row per region of a partition: partition, number, area, edge, box, x, y, saliency, colour."""
    height, width = numbers.shape
    kept = numbers >= 0
    flat = numbers[kept]
    count = int(flat.max()) + 1 if flat.size else 0
    yy, xx = np.nonzero(kept)
    pixels = np.bincount(flat, minlength=count).astype(np.float64)
    there = np.flatnonzero(pixels)
    pixels = pixels[there]

    def mean(values: NDArray[np.generic]) -> Floats:
        return np.bincount(flat, weights=values.astype(np.float64), minlength=count)[there] / pixels

    low_x, low_y = np.full(count, width), np.full(count, height)
    high_x, high_y = np.zeros(count, np.int64), np.zeros(count, np.int64)
    np.minimum.at(low_x, flat, xx)
    np.minimum.at(low_y, flat, yy)
    np.maximum.at(high_x, flat, xx + 1)
    np.maximum.at(high_y, flat, yy + 1)
    x1, y1, x2, y2 = (v[there].astype(np.float64) for v in (low_x, low_y, high_x, high_y))
    touches = (x1 == 0) * 1.0 + (y1 == 0) + (x2 == width) + (y2 == height)
    columns = [
        np.full(len(there), partition),
        there,
        pixels / numbers.size,
        touches / 4.0,
        x1,
        y1,
        x2,
        y2,
        (mean(xx) + 0.5) / width,
        (mean(yy) + 0.5) / height,
        mean(saliency[kept]),
        mean(fit[kept]),
    ]
    return np.stack([np.asarray(column, np.float64) for column in columns], axis=1)


def _numbered(mask: BoolMask) -> NDArray[np.int32]:
    """Pieces of a mask numbered from 0; -1 outside."""
    import cv2

    _, numbers = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    return np.asarray(numbers, np.int32) - 1


def _closed(mask: BoolMask) -> BoolMask:
    import cv2

    return cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)) > 0
