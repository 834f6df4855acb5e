"""Binary masks at the interchange edge: COCO run-length encoding through pycocotools.

In memory a mask is a boolean (h, w) array in the EXIF-upright frame; `Mask` is what records carry and JSON stores.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Mask:
    """A binary mask of `size_hw` pixels as COCO compressed RLE (`counts` is ASCII, column-major runs)."""

    size_hw: tuple[int, int]
    counts: str

    def __post_init__(self) -> None:
        height, width = self.size_hw
        if height < 1 or width < 1:
            raise ValueError(f"mask of {height}x{width} (h, w) pixels; expected at least 1x1")

    def array(self) -> BoolMask:
        """Decode to a boolean (h, w) array.

        Raises:
            ValueError: the runs do not cover exactly h * w pixels.
        """
        return decode_rle(self.size_hw, self.counts)

    def area(self) -> int:
        """Number of true pixels."""
        return int(coco_rle.area(self._coco()))

    def box(self) -> Box | None:
        """Tight XYXY box of the true pixels, or None for an empty mask."""
        return box_of(self.array())

    def iou(self, other: "Mask") -> float:
        """Intersection over union with `other`, in [0, 1]; two empty masks agree (1).

        Raises:
            ValueError: the sizes differ.
        """
        if self.size_hw != other.size_hw:
            raise ValueError(
                f"masks of {self.size_hw} and {other.size_hw} (h, w) pixels cannot be compared"
            )
        if self.area() == 0 and other.area() == 0:
            return 1.0
        return float(coco_rle.iou([self._coco()], [other._coco()], [False])[0, 0])

    def _coco(self) -> dict[str, object]:
        return {"size": list(self.size_hw), "counts": self.counts.encode("ascii")}


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
    """Decode COCO compressed RLE to a boolean (h, w) array, refusing runs that do not fit the size.

    pycocotools pads or reads past short runs silently, so the runs are checked before they reach it.
    """
    height, width = size_hw
    runs = _runs(counts)
    if any(run < 0 for run in runs) or sum(runs) != height * width:
        raise ValueError(
            f"RLE runs cover {sum(runs)} pixels; expected {height}x{width} = {height * width}"
        )
    coded = {"size": [height, width], "counts": counts.encode("ascii")}
    return np.ascontiguousarray(coco_rle.decode(coded)).astype(bool)


def polygons_to_mask(polygons: Sequence[Sequence[float]], size_hw: tuple[int, int]) -> Mask:
    """Union of COCO polygons, each `[x0, y0, x1, y1, ...]` in pixels, as one mask of `size_hw`.

    Raises:
        ValueError: a polygon has fewer than three points or an odd number of values.
    """
    for polygon in polygons:
        if len(polygon) < 6 or len(polygon) % 2:
            raise ValueError(
                f"polygon of {len(polygon)} values; expected x, y pairs of at least 3 points"
            )
    if not polygons:
        return encode_mask(np.zeros(size_hw, bool))
    coded = coco_rle.merge(coco_rle.frPyObjects([list(p) for p in polygons], *size_hw))
    return Mask(size_hw=size_hw, counts=coded["counts"].decode("ascii"))


def _runs(counts: str) -> list[int]:
    """Run lengths of a COCO compressed RLE string (LEB128-like, 5 bits a character, delta to two runs before)."""
    runs: list[int] = []
    position = 0
    data = counts.encode("ascii", errors="replace")
    while position < len(data):
        value, shift, more = 0, 0, True
        while more:
            if position >= len(data):
                raise ValueError("RLE ends inside a run; the counts string is cut")
            byte = data[position] - 48
            if not 0 <= byte < 64:
                raise ValueError(
                    f"RLE holds {data[position : position + 1]!r}, which no COCO counts string contains"
                )
            value |= (byte & 31) << (5 * shift)
            more = bool(byte & 32)
            position += 1
            shift += 1
            if not more and byte & 16:
                value |= -1 << (5 * shift)
        if len(runs) > 2:
            value += runs[-2]
        runs.append(value)
    return runs
