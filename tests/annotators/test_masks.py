"""Run-length masks against pycocotools and plain arrays, and the runs that make pycocotools read astray or hang."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco

from annotators.boxes import box_of
from annotators.masks import MAX_PIXELS, Mask, _runs, decode_rle, encode_mask, polygons_to_mask

masks = arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 40)))


def runs_by_hand(counts):
    """The decoder of the COCO API, one character at a time (maskApi.c, rleFrString)."""
    runs, position = [], 0
    while position < len(counts):
        value, shift, more = 0, 0, True
        while more:
            code = ord(counts[position]) - 48
            value |= (code & 31) << (5 * shift)
            more = bool(code & 32)
            position += 1
            shift += 1
            if not more and code & 16:
                value |= -1 << (5 * shift)
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
    return runs


@given(masks)
@example(np.zeros((1, 1), bool))
@example(np.ones((3, 2), bool))
@example(np.indices((31, 33)).sum(0) % 2 == 0)
def test_encoding_and_decoding_give_the_mask_back(mask):
    coded = encode_mask(mask)
    assert np.array_equal(coded.array(), mask)
    assert coded.array().dtype == bool
    assert coded.array().flags["C_CONTIGUOUS"]
    assert coded.area() == mask.sum()
    assert coded.box() == box_of(mask)
    assert coded.size_hw == mask.shape


@given(masks)
def test_runs_are_read_as_the_coco_api_reads_them(mask):
    counts = encode_mask(mask).counts
    assert _runs(counts).tolist() == runs_by_hand(counts)


def test_long_runs_are_read_as_the_coco_api_reads_them():
    mask = np.zeros((3000, 400), bool)
    mask[1000:2500:7, 10:390:3] = True
    counts = encode_mask(mask).counts
    assert _runs(counts).tolist() == runs_by_hand(counts)


@given(masks, st.randoms(use_true_random=False))
def test_overlap_equals_that_of_the_arrays(mask, random):
    other = mask.copy()
    for _ in range(random.randint(0, 8)):
        other[random.randrange(mask.shape[0]), random.randrange(mask.shape[1])] ^= True
    union = (mask | other).sum()
    expected = (mask & other).sum() / union if union else 1.0
    assert encode_mask(mask).iou(encode_mask(other)) == pytest.approx(expected)


def test_two_empty_masks_agree_and_an_empty_one_agrees_with_no_other():
    empty, full = encode_mask(np.zeros((4, 5))), encode_mask(np.ones((4, 5)))
    assert empty.iou(empty) == 1.0
    assert empty.iou(full) == 0.0
    assert empty.box() is None


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32])
def test_every_value_but_zero_is_true_whatever_the_type(dtype):
    mask = np.array([[0, 1], [2, 0]]).astype(dtype)
    assert encode_mask(mask).array().tolist() == [[False, True], [True, False]]


def test_fortran_order_and_cut_arrays_are_encoded_alike():
    mask = np.arange(48).reshape(6, 8) % 3 == 0
    assert encode_mask(np.asfortranarray(mask)) == encode_mask(mask)
    assert np.array_equal(encode_mask(mask[::2, 1:-1]).array(), mask[::2, 1:-1])


@pytest.mark.parametrize("shape", [(3,), (2, 2, 1)])
def test_an_array_of_another_dimension_is_refused(shape):
    with pytest.raises(ValueError, match=r"expected \(h, w\)"):
        encode_mask(np.zeros(shape))


@pytest.mark.parametrize("size_hw", [(0, 4), (4, 0), (-3, 5), (MAX_PIXELS, 2)])
def test_an_impossible_size_is_refused(size_hw):
    with pytest.raises(ValueError, match="expected 1x1 to"):
        Mask(size_hw=size_hw, counts="")


def test_masks_of_two_sizes_are_not_compared():
    with pytest.raises(ValueError, match="cannot be compared"):
        encode_mask(np.ones((4, 5))).iou(encode_mask(np.ones((5, 4))))


@pytest.mark.parametrize("use", [Mask.array, Mask.area, Mask.box, lambda m: m.iou(m)])
@pytest.mark.parametrize(
    ("counts", "says"),
    [
        ("", "cover 0 pixels"),
        ("11", "cover 2 pixels"),
        ("0a0" * 40, "cover"),
        ("O", "cover -1 pixels"),
        ("`" * 3, "is cut"),
        ("oooooooo1", "7 characters"),
        ("4 4", "no COCO counts"),
        ("4é", "no COCO counts"),
        ("@\u4e2d", "no COCO counts"),
        ("\x00", "no COCO counts"),
    ],
)
def test_runs_that_do_not_fit_never_reach_pycocotools(use, counts, says):
    # unchecked, pycocotools compares masks of different totals for ever
    with pytest.raises(ValueError, match=says):
        use(Mask(size_hw=(4, 4), counts=counts))


@given(st.text(st.characters(min_codepoint=48, max_codepoint=111), max_size=12))
def test_any_text_decodes_to_exactly_its_size_or_is_refused(counts):
    try:
        array = decode_rle((3, 4), counts)
    except ValueError:
        return
    assert array.shape == (3, 4)
    runs = runs_by_hand(counts)
    assert array.sum() == sum(runs[1::2])


@given(
    st.lists(
        st.lists(st.floats(-5, 45, width=32), min_size=6, max_size=12).filter(
            lambda p: len(p) % 2 == 0
        ),
        min_size=1,
        max_size=3,
    )
)
def test_polygons_become_the_union_that_pycocotools_draws(polygons):
    drawn = coco.decode(coco.frPyObjects(polygons, 30, 40))
    assert np.array_equal(polygons_to_mask(polygons, (30, 40)).array(), drawn.any(axis=2))


def test_no_polygon_is_an_empty_mask():
    assert polygons_to_mask([], (5, 7)) == encode_mask(np.zeros((5, 7)))


@pytest.mark.parametrize(
    ("polygon", "says"),
    [
        ([0, 0, 1, 1], "at least 3 points"),
        ([0, 0, 1, 1, 2, 2, 3], "x, y pairs"),
        ([0, 0, 1, 1, 2, float("nan")], "leaves the image"),
        ([0, 0, 1e9, 1, 2, 2], "leaves the image"),
        ([0, 0, float("-inf"), 1, 2, 2], "leaves the image"),
    ],
)
def test_a_polygon_that_cannot_be_drawn_is_refused(polygon, says):
    with pytest.raises(ValueError, match=says):
        polygons_to_mask([polygon], (30, 40))
