"""Grey masks that were published as JPEG: levels survive within a stated tolerance, and zeros stay zeros."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from annotators.masks import encode_mask
from pipeline.intake.grey_masks import read_grey_mask, saturated
from pipeline.intake.refusal import Refused

LEVELS = np.array([0, 85, 170, 255], np.uint8)
"""Agreement of none, one, two and three experts of three."""


def blobs(seed: int, size_hw: tuple[int, int] = (240, 320)) -> np.ndarray:
    """Smooth regions of the four levels, uint8 (h, w)."""
    noise = np.random.default_rng(seed).random(size_hw, np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 14)
    cuts = np.quantile(smooth, [0.4, 0.6, 0.8])
    return LEVELS[np.digitize(smooth, cuts)]


def published(path: Path, levels: np.ndarray, quality: int) -> Path:
    """Three equal channels, JPEG."""
    three = np.repeat(levels[..., None], 3, axis=2)
    assert cv2.imwrite(str(path), three, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return path


def test_one_and_a_half_times_agreement_saturates_at_two_of_three_and_leaves_the_input():
    kept = LEVELS.copy()
    assert saturated(LEVELS).tolist() == [0, 128, 255, 255]
    assert np.array_equal(LEVELS, kept)
    every = np.arange(256, dtype=np.uint8)
    assert np.array_equal(saturated(every), cv2.convertScaleAbs(every, alpha=1.5).ravel())


@pytest.mark.parametrize("quality", [75, 90, 95])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_jpeg_keeps_levels_on_average_and_the_region_almost_to_the_pixel(
    tmp_path: Path, quality: int, seed: int
):
    levels = blobs(seed)
    read = read_grey_mask(published(tmp_path / "m.jpg", levels, quality))
    off = np.abs(read.astype(int) - levels)
    assert off.mean() < 5
    assert off.max() > 0, "the file is lossy, or this shows nothing"
    # inside regions, away from edges by the eight pixels of a JPEG block, levels can be told apart
    edge = cv2.dilate((cv2.Laplacian(levels, cv2.CV_32F) != 0).astype(np.uint8), np.ones((17, 17)))
    assert off[edge == 0].max() <= 12
    truth, found = levels >= 128, read >= 128
    assert (truth & found).sum() / (truth | found).sum() > 0.99


def test_run_lengths_keep_the_region_to_the_pixel():
    truth = blobs(0) >= 128
    assert np.array_equal(encode_mask(truth).array(), truth)


@pytest.mark.parametrize("level", [0, 85, 255])
def test_a_mask_of_one_level_stays_that_level_and_is_never_stretched(tmp_path: Path, level: int):
    flat = np.full((40, 56), level, np.uint8)
    read = read_grey_mask(published(tmp_path / "m.jpg", flat, 90))
    assert np.abs(read.astype(int) - level).max() <= 1
    assert saturated(read).max() == min(255, round(1.5 * int(read.max())))


def test_a_coloured_picture_is_no_mask(tmp_path: Path):
    picture = np.zeros((40, 56, 3), np.uint8)
    picture[:, :28] = (0, 0, 255)
    assert cv2.imwrite(str(tmp_path / "m.jpg"), picture)
    with pytest.raises(Refused, match="mask-format"):
        read_grey_mask(tmp_path / "m.jpg")
