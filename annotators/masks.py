"""Binary masks at the interchange edge: COCO run-length encoding through pycocotools.

In memory a mask is a boolean (h, w) array in the EXIF-upright frame; `Mask` is what records carry and JSON stores.
pycocotools trusts what it is given: runs that do not fit the size make it read past them or compare for ever, so every
call into it goes through `_checked`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as _pycocotools_mask

from annotators.boxes import Box, box_of

coco_rle: Any = _pycocotools_mask  # its stubs are narrower than what it takes
BoolMask = NDArray[np.bool_]
MAX_PIXELS = 2**30
"""Larger masks are refused: pycocotools counts in 32 bits, and no photograph is that large."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mask:
    """A binary mask of `size_hw` pixels as COCO compressed RLE (`counts` is ASCII, column-major runs)."""

    size_hw: tuple[int, int]
    counts: str

    def __post_init__(self) -> None:
        height, width = self.size_hw
        if height < 1 or width < 1 or height * width > MAX_PIXELS:
            raise ValueError(
                f"mask of {height}x{width} (h, w) pixels; expected 1x1 to {MAX_PIXELS} pixels"
            )

    def array(self) -> BoolMask:
        """Decode to a boolean (h, w) array.

        Raises:
            ValueError: the runs do not cover exactly h * w pixels.
        """
        return decode_rle(self.size_hw, self.counts)

    def area(self) -> int:
        """Number of true pixels.

        Raises:
            ValueError: the runs do not cover exactly h * w pixels.
        """
        return int(coco_rle.area(_checked(self.size_hw, self.counts)))

    def box(self) -> Box | None:
        """Tight XYXY box of the true pixels, or None for an empty mask."""
        return box_of(self.array())

    def iou(self, other: "Mask") -> float:
        """Intersection over union with `other`, in [0, 1]; two empty masks agree (1).

        Raises:
            ValueError: the sizes differ, or the runs do not fit them.
        """
        if self.size_hw != other.size_hw:
            raise ValueError(
                f"masks of {self.size_hw} and {other.size_hw} (h, w) pixels cannot be compared"
            )
        mine, theirs = (_checked(m.size_hw, m.counts) for m in (self, other))
        if coco_rle.area(mine) == 0 and coco_rle.area(theirs) == 0:
            return 1.0
        return float(coco_rle.iou([mine], [theirs], [False])[0, 0])


def encode_mask(mask: NDArray[np.generic]) -> Mask:
    """Encode an (h, w) array; every non-zero pixel is true.

    Raises:
        ValueError: `mask` is not two-dimensional.
    """
    if mask.ndim != 2:
        raise ValueError(f"mask of shape {mask.shape}; expected (h, w)")
    coded = coco_rle.encode(np.asfortranarray(mask != 0, dtype=np.uint8))
    return Mask(
        size_hw=(int(mask.shape[0]), int(mask.shape[1])), counts=coded["counts"].decode("ascii")
    )


def decode_rle(size_hw: tuple[int, int], counts: str) -> BoolMask:
    """Decode COCO compressed RLE to a boolean (h, w) array.

    Raises:
        ValueError: the runs do not cover exactly h * w pixels.
    """
    return np.ascontiguousarray(coco_rle.decode(_checked(size_hw, counts))).astype(bool)


def polygons_to_mask(polygons: Sequence[Sequence[float]], size_hw: tuple[int, int]) -> Mask:
    """Union of COCO polygons, each `[x0, y0, x1, y1, ...]` in pixels, as one mask of `size_hw`.

    Raises:
        ValueError: a polygon has fewer than three points or an odd number of values, or a coordinate is not finite
            or further outside than the image is large (pycocotools allocates by edge length).
    """
    side = float(max(size_hw))
    for polygon in polygons:
        if len(polygon) < 6 or len(polygon) % 2:
            raise ValueError(
                f"polygon of {len(polygon)} values; expected x, y pairs of at least 3 points"
            )
        if not all(-side <= v <= 2 * side for v in polygon):  # also catches NaN
            raise ValueError(
                f"polygon leaves the image of {size_hw} (h, w) pixels: {list(polygon)[:8]}...; expected pixels"
            )
    if not polygons:
        return encode_mask(np.zeros(size_hw, bool))
    coded = coco_rle.merge(coco_rle.frPyObjects([list(p) for p in polygons], *size_hw))
    return Mask(size_hw=size_hw, counts=coded["counts"].decode("ascii"))


def _checked(size_hw: tuple[int, int], counts: str) -> dict[str, object]:
    """What pycocotools takes, once the runs are known to fit the size."""
    height, width = size_hw
    runs = _runs(counts)
    if (runs < 0).any() or int(runs.sum()) != height * width:
        raise ValueError(
            f"RLE runs cover {int(runs.sum())} pixels; expected {height}x{width} = {height * width}"
        )
    return {"size": [height, width], "counts": counts.encode("ascii")}


def _runs(counts: str) -> NDArray[np.int64]:
    """Run lengths of a COCO compressed RLE string.

    A number is little-endian groups of 5 bits, one a character, bit 5 of each saying that more follow; from the fourth
    on, a run is stored as its difference to the run two before it.
    """
    codes = np.frombuffer(counts.encode("latin-1", "replace"), np.uint8).astype(np.int64) - 48
    if codes.size == 0:
        return codes
    if not counts.isascii() or codes.min() < 0 or codes.max() >= 64:
        odd = next(c for c in counts if not "0" <= c <= "o")
        raise ValueError(f"RLE holds {odd!r}, which no COCO counts string contains")
    last = (codes & 32) == 0
    if not last[-1]:
        raise ValueError("RLE ends inside a run; the counts string is cut")
    ends = np.flatnonzero(last)
    starts = np.concatenate(([0], ends[:-1] + 1))
    widths = ends - starts + 1
    if widths.max() > 7:
        raise ValueError("RLE holds a run of more than 7 characters; no mask is that large")
    shifts = 5 * (np.arange(codes.size) - np.repeat(starts, widths))
    runs = np.add.reduceat((codes & 31) << shifts, starts)
    runs -= ((codes[ends] & 16) != 0) * (np.int64(1) << (5 * widths))
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs
