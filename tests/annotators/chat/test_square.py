"""Square-padding: boxes of the square come back to the pixel, for every shape of photograph."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotators.chat.square import BAR, before, pad_square, unpad_box


@pytest.mark.parametrize(
    ("size_hw", "box", "pixels"),
    [
        ((100, 200), (0.25, 0.5, 0.75, 0.6), (50.0, 50.0, 150.0, 70.0)),  # landscape: 50 px above
        ((200, 100), (0.5, 0.25, 0.6, 0.75), (50.0, 50.0, 70.0, 150.0)),  # portrait: 50 px on the left
        ((480, 640), (0.0, 0.125, 1.0, 0.875), (0.0, 0.0, 640.0, 480.0)),  # the whole photograph
        ((64, 64), (0.25, 0.0, 0.5, 1.0), (16.0, 0.0, 32.0, 64.0)),  # a square has no bars
        ((101, 200), (0.5, 0.5, 1.0, 0.75), (100.0, 51.0, 200.0, 101.0)),  # odd: 49 px above, 50 below
        ((200, 101), (0.5, 0.5, 0.75, 1.0), (51.0, 100.0, 101.0, 200.0)),
        ((1, 1), (0.0, 0.0, 1.0, 1.0), (0.0, 0.0, 1.0, 1.0)),
        ((3, 200), (0.0, 0.4, 0.5, 0.6), (0.0, 0.0, 100.0, 3.0)),  # clipped above and below
    ],
)  # fmt: skip
def test_a_box_of_the_square_is_found_in_the_photograph(size_hw, box, pixels):
    assert unpad_box(box, size_hw) == pytest.approx(pixels)


def test_scaling_by_width_and_height_gives_another_box():
    height, width = 100, 200
    x1, y1, x2, y2 = box = (0.25, 0.5, 0.75, 0.6)
    wrong = (x1 * width, y1 * height, x2 * width, y2 * height)
    assert unpad_box(box, (height, width)) == pytest.approx((50.0, 50.0, 150.0, 70.0))
    assert wrong == pytest.approx((50.0, 50.0, 150.0, 60.0))


@pytest.mark.parametrize("box", [(0.0, 0.0, 1.0, 0.25), (0.1, 0.75, 0.9, 1.0)])
def test_a_box_in_the_bars_is_no_box(box):
    assert unpad_box(box, (100, 200)) is None


@given(
    height=st.integers(1, 40), width=st.integers(1, 40), corner=st.tuples(*[st.floats(0, 0.99)] * 2)
)
def test_what_a_box_of_the_square_frames_is_what_it_frames_in_the_photograph(height, width, corner):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    square = pad_square(image)
    side = max(height, width)
    assert square.shape == (side, side, 3)
    x, y = (int(share * side) for share in corner)
    box = (x / side, y / side, (x + 1) / side, (y + 1) / side)
    found = unpad_box(box, (height, width))
    left, top = before(height, width)
    if not (left <= x < left + width and top <= y < top + height):
        assert tuple(square[y, x]) == BAR
        return
    assert found is not None
    assert (image[round(found[1]), round(found[0])] == square[y, x]).all()
