"""STAPLE over vote patterns against SimpleITK's STAPLE, which walks every pixel in every iteration.

Run: python -m benchmarks.staple (about 30 s). Target 25 times the images per CPU-second, with 3, 5 and 8 experts. The
two stop by different rules, so posteriors may differ by 0.02, and masks at one half in 1 of 10,000 pixels.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from annotators.staple import staple
from benchmarks.ratio import compare, require, run

SIZE_HW = (480, 640)
IMAGES, KEPT = 8, 4
"""Every so many posteriors are kept and compared; keeping all would measure page faults."""


def votes_of(experts: int, seed: int) -> NDArray[np.bool_]:
    """Masks (k, h, w) of one blob: each expert shifts it, grows or shrinks it and gets some patches wrong."""
    rng = np.random.default_rng(seed)
    height, width = SIZE_HW
    truth = np.zeros(SIZE_HW, np.uint8)
    cv2.ellipse(truth, (width // 2, height // 2), (120, 90), 30, 0, 360, 1, -1)
    votes: list[NDArray[np.bool_]] = []
    for _ in range(experts):
        dx, dy, radius = (int(v) for v in rng.integers([-12, -12, 1], [13, 13, 12]))
        kernel = np.ones((radius, radius), np.uint8)
        change = cv2.dilate if rng.random() < 0.5 else cv2.erode
        mask = np.roll(change(truth, kernel), (dy, dx), (0, 1)).astype(bool)
        noise = cv2.GaussianBlur(rng.standard_normal(SIZE_HW), (0, 0), 6)
        votes.append(mask ^ (noise > 2.5 * noise.std()))
    return np.stack(votes)


def measure(experts: int) -> bool:
    """One panel size."""
    require("simpleitk")
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    panels = [votes_of(experts, seed) for seed in range(IMAGES)]
    images = [[sitk.GetImageFromArray(v.astype(np.uint8)) for v in panel] for panel in panels]

    def ours() -> dict[int, NDArray[np.float64]]:
        return {n // KEPT: staple(panel).posterior for n, panel in enumerate(panels)}

    def peer() -> dict[int, NDArray[np.float64]]:
        found = ((n, sitk.STAPLE(panel, 1.0)) for n, panel in enumerate(images))
        return {n // KEPT: sitk.GetArrayFromImage(posterior) for n, posterior in found}

    return compare(
        f"STAPLE of {IMAGES} images of 640x480 by {experts} experts",
        ours=ours,
        peer=peer,
        peer_name="simpleitk",
        same=_same,
        target=25.0,
        units=IMAGES,
        unit="images",
        rounds=5,
    )


def _same(ours: Any, theirs: Any) -> bool:
    return all(
        float(np.abs(a - b).max()) < 0.02 and float(((a > 0.5) != (b > 0.5)).mean()) < 1e-4
        for a, b in zip(ours.values(), theirs.values(), strict=True)
    )


PANELS: tuple[Callable[[], bool], ...] = tuple(partial(measure, experts) for experts in (3, 5, 8))

if __name__ == "__main__":
    run(*PANELS)
