"""Boxes: conversions, clipping and overlap, with the garbage that experts and language models send."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from annotators.boxes import box_iou, box_of, check_box, clip_box, xywh_to_xyxy

SIZE = (40, 60)
inside = st.tuples(
    st.integers(0, 58), st.integers(0, 38), st.integers(1, 60), st.integers(1, 40)
).map(
    lambda b: (b[0], b[1], max(b[0] + 1, min(b[2] + b[0], 60)), max(b[1] + 1, min(b[3] + b[1], 40)))
)


@given(inside)
def test_a_box_inside_passes_unchanged_and_clipping_keeps_it(box):
    assert check_box(box, SIZE) == box
    assert clip_box(box, SIZE) == box


@pytest.mark.parametrize(
    ("box", "says"),
    [
        ((12, 30, 8, 35), "xywh_to_xyxy"),
        ((5, 5, 5, 9), "x2 <= x1"),
        ((0, 0, 61, 40), "leaves the image of 60x40"),
        ((-0.5, 0, 10, 10), "clip_box"),
        ((math.nan, 0, 10, 10), "not finite"),
        ((0, 0, math.inf, 10), "not finite"),
    ],
)
def test_a_wrong_box_is_refused_with_the_remedy(box, says):
    with pytest.raises(ValueError, match=says):
        check_box(box, SIZE)


@given(st.tuples(*[st.floats(allow_nan=True, allow_infinity=True)] * 4))
def test_what_clipping_returns_always_passes_the_check(box):
    clipped = clip_box(box, SIZE)
    if clipped is not None:
        check_box(clipped, SIZE)


@pytest.mark.parametrize("position", range(4))
def test_a_box_with_nan_has_no_part_inside(position):
    box = [1.0, 1.0, 9.0, 9.0]
    box[position] = math.nan
    assert clip_box((box[0], box[1], box[2], box[3]), SIZE) is None


def test_an_endless_box_is_clipped_to_the_image():
    assert clip_box((-math.inf, 3, math.inf, 5), SIZE) == (0.0, 3, 60.0, 5)


def test_xywh_becomes_xyxy():
    assert xywh_to_xyxy((10, 20, 5, 6)) == (10, 20, 15, 26)


@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_the_tight_box_holds_every_true_pixel_and_nothing_can_be_cut_off(mask):
    box = box_of(mask)
    if box is None:
        assert not mask.any()
        return
    x1, y1, x2, y2 = (int(v) for v in box)
    cut = mask[y1:y2, x1:x2]
    assert cut.sum() == mask.sum()
    assert cut[0].any()
    assert cut[-1].any()
    assert cut[:, 0].any()
    assert cut[:, -1].any()


@given(inside, inside)
def test_overlap_equals_that_of_the_drawn_boxes(a, b):
    drawn = []
    for x1, y1, x2, y2 in (a, b):
        mask = np.zeros(SIZE, bool)
        mask[y1:y2, x1:x2] = True
        drawn.append(mask)
    expected = (drawn[0] & drawn[1]).sum() / (drawn[0] | drawn[1]).sum()
    assert box_iou(a, b) == pytest.approx(expected)
    assert box_iou(a, b) == box_iou(b, a)


def test_boxes_that_only_touch_do_not_overlap():
    assert box_iou((0, 0, 2, 2), (2, 0, 4, 2)) == 0.0
