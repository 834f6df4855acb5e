"""A pinhole camera: pixel centres to rays and points to pixels, the same frame for picture, ids and words.

Camera axes: right, down, forward. Pixel (row, column) has its centre at (column + 0.5, row + 0.5).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """`eye` looks at `target` (world metres) with a vertical field of view of `fov` degrees; up is +z."""

    eye: tuple[float, float, float]
    target: tuple[float, float, float]
    fov: float

    def axes(self) -> NDArray[np.float64]:
        """Rows right, down, forward as unit vectors of the world, (3, 3)."""
        forward = np.subtract(self.target, self.eye)
        forward = forward / np.linalg.norm(forward)
        right = np.cross(forward, [0.0, 0.0, 1.0])
        right /= np.linalg.norm(right)
        return np.stack([right, np.cross(forward, right), forward])

    def rays(
        self, columns: NDArray[np.floating], rows: NDArray[np.floating], *, size_hw: tuple[int, int]
    ) -> NDArray[np.float32]:
        """Unit directions (n, 3) through image points (x = columns, y = rows, pixels) of an image of `size_hw`."""
        height, width = size_hw
        scale = 2 * np.tan(np.radians(self.fov) / 2) / height
        right, down, forward = self.axes()
        x = ((columns - width / 2) * scale)[:, None]
        y = ((rows - height / 2) * scale)[:, None]
        direction = forward + x * right + y * down
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        return direction.astype(np.float32)

    def pixels(
        self, points: NDArray[np.floating], *, size_hw: tuple[int, int]
    ) -> NDArray[np.float64]:
        """Image points (n, 2) as x, y pixels of world points (n, 3) that lie in front of the camera."""
        height, width = size_hw
        scale = 2 * np.tan(np.radians(self.fov) / 2) / height
        seen = (np.asarray(points, float) - self.eye) @ self.axes().T
        return seen[:, :2] / seen[:, 2:] / scale + [width / 2, height / 2]

    def ground(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The viewer's right and away directions on the table plane, unit (2,) each."""
        right, _, forward = self.axes()
        away = forward[:2] / np.linalg.norm(forward[:2])
        return right[:2] / np.linalg.norm(right[:2]), away
