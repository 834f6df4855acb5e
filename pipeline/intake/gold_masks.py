"""Gold as people write it down (mask file, RLE, polygons, box) to a `Mask` in the frame of the upright image.

A mask of another size is refused, never resized: a silent resize hides that it belongs to another image, or to the
image before its EXIF orientation was applied.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from annotators.boxes import check_box
from annotators.masks import Mask, coco_rle, decode_rle, encode_mask, polygons_to_mask
from pipeline.codec import sniff
from pipeline.intake.image_files import read_image
from pipeline.intake.png_chunks import read_chunks
from pipeline.intake.refusal import Refused

Size = tuple[int, int]


def mask_from_file(path: Path, size_hw: Size) -> Mask:
    """The mask in a PNG file, as `mask_from_png` has it.

    Raises:
        Refused: mask-missing, and as `mask_from_png`.
    """
    try:
        data = read_image(path)
    except Refused as error:
        raise Refused(error.reason.replace("image-", "mask-"), error.detail) from error
    return mask_from_png(data, size_hw, str(path))


def mask_from_png(data: bytes, size_hw: Size, name: str) -> Mask:
    """A PNG of `size_hw`, grey, palette or RGB without alpha; every pixel that is not black is true.

    Raises:
        Refused: mask-format (no PNG: JPEG smears edges; or alpha), mask-damaged or mask-size; `name` is in the detail.
    """
    if sniff(data) != "png":
        raise Refused("mask-format", f"{name} is no PNG")
    try:
        header = read_chunks(data)
    except Refused as error:
        raise Refused("mask-damaged", f"{name}: {error.detail}") from error
    height, width = (int.from_bytes(data[at : at + 4], "big") for at in (20, 16))
    _check_size((height, width), size_hw, name)
    if header.transparent:
        raise Refused("mask-format", f"{name} has alpha, which could be the mask or hide it")
    pixels: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise Refused("mask-damaged", f"{name} does not decode")
    return encode_mask(pixels.any(axis=2) if pixels.ndim == 3 else pixels)


def mask_from_rle(rle: Any, size_hw: Size) -> Mask:
    """COCO RLE: `{"size": [h, w], "counts": ...}`, counts a string (compressed) or a list of run lengths.

    Raises:
        Refused: mask-size, or mask-damaged where the runs do not cover exactly h * w pixels.
    """
    if not isinstance(rle, Mapping) or not isinstance(rle.get("counts"), str | list):
        raise Refused("mask-damaged", f"RLE {str(rle)[:80]}; expected size [h, w] and counts")
    size = rle.get("size")
    if not (isinstance(size, list) and len(size) == 2 and all(_whole(side) for side in size)):
        raise Refused("mask-damaged", f"RLE size {size!r}; expected [h, w]")
    _check_size((size[0], size[1]), size_hw, "RLE")
    counts = rle["counts"]
    if isinstance(counts, list):
        if not all(_whole(run) for run in counts) or sum(counts) != size_hw[0] * size_hw[1]:
            raise Refused(
                "mask-damaged", f"{len(counts)} runs do not cover {size_hw} (h, w) pixels exactly"
            )
        coded = coco_rle.frPyObjects({"size": list(size_hw), "counts": counts}, *size_hw)
        counts = coded["counts"].decode("ascii")
    try:
        decode_rle(size_hw, counts)
    except ValueError as error:
        raise Refused("mask-damaged", str(error)) from error
    return Mask(size_hw=size_hw, counts=counts)


def mask_from_polygons(polygons: Any, size_hw: Size) -> Mask:
    """One polygon `[x0, y0, x1, y1, ...]` or a list of them, in pixels; the union of all.

    Raises:
        Refused: mask-damaged.
    """
    if isinstance(polygons, list) and polygons and not isinstance(polygons[0], list):
        polygons = [polygons]
    if not isinstance(polygons, list) or not all(_numbers(polygon) for polygon in polygons):
        raise Refused(
            "mask-damaged", f"polygons {str(polygons)[:80]}; expected lists of x, y pixels"
        )
    try:
        return polygons_to_mask(polygons, size_hw)
    except ValueError as error:
        raise Refused("mask-damaged", str(error)) from error


def mask_from_box(box: Any, size_hw: Size) -> Mask:
    """The filled XYXY box: every pixel whose centre lies inside.

    Raises:
        Refused: mask-damaged: not four numbers, empty, or outside the image.
    """
    if not _numbers(box) or len(box) != 4:
        raise Refused("mask-damaged", f"box {str(box)[:80]}; expected [x1, y1, x2, y2] in pixels")
    try:
        x1, y1, x2, y2 = check_box((box[0], box[1], box[2], box[3]), size_hw)
    except ValueError as error:
        raise Refused("mask-damaged", str(error)) from error
    rows, columns = (np.arange(side) + 0.5 for side in size_hw)
    inside_y, inside_x = (rows >= y1) & (rows < y2), (columns >= x1) & (columns < x2)
    return encode_mask(inside_y[:, None] & inside_x[None, :])


def union(masks: Sequence[Mask], size_hw: Size) -> Mask:
    """Every pixel that is true in one of `masks`; empty when there are none."""
    joined = np.zeros(size_hw, bool)
    for mask in masks:
        joined |= mask.array()
    return encode_mask(joined)


def _check_size(got: Size, size_hw: Size, what: object) -> None:
    if got != size_hw:
        turned = " (turned: was it drawn before EXIF?)" if got == size_hw[::-1] else ""
        raise Refused(
            "mask-size", f"{what} is {got} (h, w), the upright image is {size_hw}{turned}"
        )


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _numbers(values: Any) -> bool:
    return isinstance(values, list) and all(
        isinstance(v, int | float) and not isinstance(v, bool) for v in values
    )
