"""Images as they are sent: limited, the same every time, and still the same picture."""

import base64

import cv2
import numpy as np
import pytest

from annotators.chat.images import data_url, sent_size


def decoded(url: str) -> np.ndarray:
    head, _, data = url.partition(",")
    assert head == "data:image/jpeg;base64"
    image = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image[:, :, ::-1]


def ramp(height: int, width: int) -> np.ndarray:
    """Red grows to the right, green downwards; blue is low."""
    image = np.full((height, width, 3), 20, np.uint8)
    image[:, :, 0] = np.linspace(0, 255, width)
    image[:, :, 1] = np.linspace(0, 255, height)[:, None]
    return image


@pytest.mark.parametrize(
    ("size", "sent"),
    [((1, 1), (1, 1)), ((100, 64), (100, 64)), ((128, 64), (128, 64)), ((300, 150), (128, 64)),
     ((150, 301), (64, 128)), ((1, 5000), (1, 128)), ((5000, 3), (128, 1))],
)  # fmt: skip
def test_the_longer_side_is_limited_and_nothing_is_enlarged(size, sent):
    assert sent_size(size, 128) == sent
    assert decoded(data_url(ramp(*size), 128)).shape == (*sent, 3)


def test_colours_and_directions_survive():
    image = decoded(data_url(ramp(200, 400), 100))
    expected = ramp(50, 100).astype(int)
    assert np.abs(image.astype(int) - expected).mean() < 4


def test_fine_patterns_are_averaged_and_not_picked_from():
    board = np.zeros((64, 64, 3), np.uint8)
    board[::2, 1::2] = board[1::2, ::2] = 255
    assert np.abs(decoded(data_url(board, 32)).astype(int) - 127).max() <= 3


def test_the_same_pixels_give_the_same_bytes_whatever_their_memory_looks_like():
    image = ramp(90, 120)
    assert data_url(image, 64) == data_url(np.asfortranarray(image), 64)
    assert data_url(image, 64) == data_url(np.flip(np.flip(image, 1).copy(), 1), 64)
    changed = image.copy()
    changed[30:60, 30:60] = 0
    assert data_url(image, 64) != data_url(changed, 64)


def test_an_array_that_is_no_image_is_our_defect():
    with pytest.raises(AssertionError):
        data_url(np.zeros((4, 4), np.uint8), 64)
    with pytest.raises(AssertionError):
        data_url(np.zeros((4, 4, 3), np.float32), 64)  # type: ignore[arg-type]
