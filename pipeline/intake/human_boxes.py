"""Boxes that people drew, in the conventions that files use, to XYXY pixels inside the upright image.

A box that only reaches over the border is cut there, as every data set holds some; one with nothing inside the image
is refused with its sample, since a silently dropped box would leave a target half labelled.
"""

from typing import Any, Literal

import numpy as np

from annotators.boxes import clip_box, xywh_to_xyxy
from pipeline.intake.refusal import Refused

BoxForm = Literal["xyxy", "xywh"]


def human_boxes(
    boxes: Any, size_hw: tuple[int, int], *, form: BoxForm, normalised: bool = False
) -> list[list[float]]:
    """`[[x1, y1, x2, y2], ...]` in float pixels of an image of `size_hw`; `boxes` is one box or a list of them.

    `form` says what the four numbers are (xywh: left, top, width, height, as COCO has them), `normalised` that they
    are shares of the image's width and height.

    Raises:
        Refused: box-damaged (not lists of four finite numbers) or box-empty (nothing of it lies in the image).

    >>> human_boxes([1, 2, 3, 40], (20, 30), form="xywh")
    [[1.0, 2.0, 4.0, 20.0]]
    """
    given: Any = boxes.tolist() if isinstance(boxes, np.ndarray) else boxes
    if isinstance(given, list | tuple) and given and not isinstance(given[0], list | tuple):
        given = [given]
    if not isinstance(given, list | tuple):
        raise Refused("box-damaged", f"boxes {str(boxes)[:80]}; expected lists of four numbers")
    return [_one(box, size_hw, form, normalised) for box in given]


def _one(box: Any, size_hw: tuple[int, int], form: BoxForm, normalised: bool) -> list[float]:
    if not isinstance(box, list | tuple) or len(box) != 4 or not all(_finite(v) for v in box):
        raise Refused("box-damaged", f"box {str(box)[:80]}; expected four numbers, {form}")
    height, width = size_hw
    scales = (width, height, width, height) if normalised else (1, 1, 1, 1)
    a, b, c, d = (float(value) * scale for value, scale in zip(box, scales, strict=True))
    inside = clip_box(xywh_to_xyxy((a, b, c, d)) if form == "xywh" else (a, b, c, d), size_hw)
    if inside is None:
        unit = "shares of the image" if normalised else "pixels"
        raise Refused(
            "box-empty",
            f"box {list(box)} ({form}, {unit}) has nothing inside {width}x{height} pixels",
        )
    return list(inside)


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9
