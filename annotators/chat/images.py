"""Images as a chat model is sent them: a JPEG of limited size in the request, the same bytes for the same pixels."""

import base64

import cv2
import numpy as np
from numpy.typing import NDArray

QUALITY = 90


def sent_size(size: tuple[int, int], side: int) -> tuple[int, int]:
    """The (h, w) that an image of (h, w) px has when it is sent with at most `side` px on its longer side."""
    height, width = size
    scale = min(1.0, side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def data_url(image: NDArray[np.uint8], side: int) -> str:
    """RGB uint8 (h, w, 3) as `data:image/jpeg;base64,...`, at most `side` px on its longer side, never enlarged."""
    assert image.shape == (*image.shape[:2], 3), image.shape
    assert image.dtype == np.uint8, image.dtype
    height, width = sent_size(image.shape[:2], side)
    if (height, width) != image.shape[:2]:
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)  # pyright: ignore[reportAssignmentType]
    good, data = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert good, image.shape
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
