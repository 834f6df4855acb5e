"""The effects: identity, fail-open, exact compositing, monotone thresholds, and what they refuse."""

import doctest
import itertools
import subprocess
import sys

import cv2
import numpy as np
import pytest

from trainer.use import effects
from trainer.use.effects import (
    apply_effect,
    blur,
    compose,
    grayscale,
    overlay,
    soft_visibility,
    visibility,
)

EFFECTS = ("overlay", "grayscale", "blur")


@pytest.fixture
def photo() -> np.ndarray:
    ramp = np.linspace(0, 255, 64, dtype=np.uint8)
    image = np.dstack([*np.meshgrid(ramp, ramp[:48]), np.full((48, 64), 90, np.uint8)])
    return np.ascontiguousarray(image)


@pytest.fixture
def soft_mask() -> np.ndarray:
    y, x = np.mgrid[:48, :64]
    return np.exp(-((y - 20) ** 2 + (x - 30) ** 2) / 120).astype(np.float32)


@pytest.mark.parametrize("effect", EFFECTS)
@pytest.mark.parametrize("crop", [False, True])
def test_a_mask_of_ones_is_the_identity(photo, effect, crop):
    shown = apply_effect(photo, np.ones((48, 64), np.float32), effect=effect, crop=crop)
    assert np.array_equal(shown.image, photo)
    assert not shown.failed_open


@pytest.mark.parametrize("effect", EFFECTS)
@pytest.mark.parametrize("level", [0.0, 0.05, 0.1])
def test_nothing_above_the_threshold_fails_open_and_says_so(photo, effect, level):
    mask = np.full((48, 64), np.float32(level))
    shown = apply_effect(photo, mask, effect=effect, threshold=0.1, crop=True)
    assert shown.failed_open
    assert np.array_equal(shown.image, photo)
    assert shown.box == (0, 0, 64, 48)


@pytest.mark.parametrize("height", [480, 640, 1024])
def test_one_pixel_gives_the_box_of_the_release(height):
    mask = np.zeros((height, 700), bool)
    mask[height // 2, 350] = True
    x1, y1, x2, y2 = visibility(mask).box
    side = 1 + 4 * int(0.05 * height)
    assert (x2 - x1, y2 - y1) == (side, side)


def test_visibility_is_dilation_then_blur_of_the_release(soft_mask):
    k = 2 * int(0.05 * 48) + 1
    binary = (soft_mask > 0.3).astype(np.float32)
    expected = cv2.GaussianBlur(cv2.dilate(binary, np.ones((k, k))), (k, k), 0)
    assert np.allclose(visibility(soft_mask, threshold=0.3).share, expected, atol=1e-6)


def test_a_higher_threshold_never_shows_more(soft_mask):
    maps = [visibility(soft_mask, threshold=t) for t in (0.0, 0.1, 0.5, 0.9, 0.99)]
    for wide, narrow in itertools.pairwise(maps):
        assert (narrow.share <= wide.share + 1e-6).all()
        assert wide.box[0] <= narrow.box[0]
        assert wide.box[1] <= narrow.box[1]
        assert narrow.box[2] <= wide.box[2]
        assert narrow.box[3] <= wide.box[3]
    assert visibility(soft_mask, threshold=1.0).failed_open


@pytest.mark.parametrize("seed", range(20))
def test_the_crop_is_never_empty(photo, seed):
    rng = np.random.default_rng(seed)
    mask = np.zeros((48, 64), np.float32)
    for _ in range(rng.integers(0, 3)):
        mask[rng.integers(48), rng.integers(64)] = rng.random()
    shown = apply_effect(photo, mask, threshold=rng.random(), crop=True)
    assert shown.image.size > 0
    x1, y1, x2, y2 = shown.box
    assert shown.image.shape == (y2 - y1, x2 - x1, 3)


def test_soft_masks_are_composited_exactly():
    image = np.full((1, 4, 3), 101, np.uint8)
    share = np.array([[0.0, 0.25, 0.5, 1.0]], np.float32)
    shown = overlay(image, share)
    # 255 where hidden, 101 where shown, and 216.5 and 178 between; halves go to the even neighbour
    assert shown[0, :, 0].tolist() == [255, 216, 178, 101]


def test_effects_agree_where_the_mask_is_one_and_differ_where_it_is_zero(photo):
    share = np.zeros((48, 64), np.float32)
    share[10:30, 10:30] = 1
    results = [effect(photo, share) for effect in (overlay, grayscale, blur)]
    for result in results:
        assert np.array_equal(result[10:30, 10:30], photo[10:30, 10:30])
    assert (results[0][share == 0] == 255).all()
    hidden = results[1][share == 0]
    assert (hidden[:, 0] == hidden[:, 1]).all()
    assert (hidden[:, 1] == hidden[:, 2]).all()
    assert results[2][:5].std() < photo[:5].std()


def test_compose_is_exact_at_both_ends():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 256, (2, 9, 7, 3), np.uint8)
    assert np.array_equal(compose(a, b, np.ones((9, 7), np.float32)), a)
    assert np.array_equal(compose(a, b, np.zeros((9, 7), np.float32)), b)


def test_the_soft_variant_keeps_a_floor_of_everything_and_fails_open_on_flat_masks(soft_mask):
    kept = soft_visibility(soft_mask)
    assert kept.share.min() == pytest.approx(0.2)
    assert kept.share.max() == pytest.approx(1.0)
    assert not kept.failed_open
    for flat in (0.0, 0.4, 1.0):
        opened = soft_visibility(np.full((48, 64), flat, np.float32))
        assert opened.failed_open
        assert (opened.share == 1).all()


def test_grey_and_non_contiguous_images_are_taken_and_left_alone(photo, soft_mask):
    before = photo.copy()
    flipped = apply_effect(photo[:, ::-1], soft_mask[:, ::-1])
    straight = apply_effect(photo, soft_mask)
    assert np.allclose(flipped.image[:, ::-1].astype(int), straight.image, atol=1)
    grey = apply_effect(photo[..., 0], soft_mask)
    assert np.array_equal(
        grey.image, apply_effect(np.repeat(photo[..., :1], 3, 2), soft_mask).image
    )
    assert np.array_equal(photo, before)


def test_inputs_of_another_kind_are_refused_with_what_to_do(photo, soft_mask):
    with pytest.raises(ValueError, match="alpha channel"):
        apply_effect(np.dstack([photo, photo[..., :1]]), soft_mask)
    with pytest.raises(ValueError, match="expected uint8"):
        apply_effect(photo.astype(np.float32), soft_mask)
    with pytest.raises(ValueError, match=r"divide a 0\.\.255 mask"):
        apply_effect(photo, (soft_mask * 255).astype(np.uint8))
    with pytest.raises(ValueError, match="sigmoid"):
        apply_effect(photo, soft_mask * 3)
    with pytest.raises(ValueError, match=r"nan.*expected \[0, 1\]"):
        apply_effect(photo, np.full((48, 64), np.nan))
    with pytest.raises(ValueError, match="resize the mask"):
        apply_effect(photo, soft_mask[:20])
    with pytest.raises(ValueError, match="one of overlay, grayscale, blur"):
        apply_effect(photo, soft_mask, effect="sepia")
    with pytest.raises(ValueError, match=r"threshold is 1\.5"):
        apply_effect(photo, soft_mask, threshold=1.5)


def test_tiny_images_have_nothing_to_spread():
    mask = np.zeros((5, 5), np.float32)
    mask[2, 3] = 1
    assert visibility(mask).box == (3, 2, 4, 3)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (3, 300), (205, 4)])
@pytest.mark.parametrize("effect", EFFECTS)
def test_images_smaller_than_any_kernel_are_shown_too(shape, effect):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    one = np.zeros(shape, bool)
    one[shape[0] // 2, shape[1] // 2] = True
    for mask, opened in [(np.ones(shape, bool), False), (~one & one, True), (one, False)]:
        whole = apply_effect(image, mask, effect=effect)
        crop = apply_effect(image, mask, effect=effect, crop=True)
        assert whole.image.shape == image.shape
        assert crop.image.size > 0
        assert whole.failed_open == opened
        if mask.all() or opened:
            assert np.array_equal(whole.image, image)


@pytest.mark.parametrize("seed", range(10))
def test_visibility_is_a_share_whatever_the_mask(seed):
    rng = np.random.default_rng(seed)
    mask = (rng.random((61, 47)) ** (seed + 1)).astype(np.float32)
    for kept in (visibility(mask, threshold=rng.random()), soft_visibility(mask)):
        assert kept.share.dtype == np.float32
        assert kept.share.min() >= 0
        assert kept.share.max() <= 1
        x1, y1, x2, y2 = kept.box
        assert 0 <= x1 < x2 <= 47
        assert 0 <= y1 < y2 <= 61


def test_all_effects_show_the_photograph_itself_where_it_is_wholly_visible(photo):
    mask = np.zeros((48, 64), np.float32)
    mask[8:40, 12:52] = 0.7
    inside = visibility(mask, threshold=0.3).share == 1
    assert inside[10:38, 14:50].all()
    for effect in EFFECTS:
        shown = apply_effect(photo, mask, effect=effect, threshold=0.3)
        assert np.array_equal(shown.image[inside], photo[inside])


def test_a_higher_threshold_hides_more_of_the_picture_and_never_brings_anything_back(
    photo, soft_mask
):
    hidden = [255 - photo.astype(int)]  # how far the white fill could take every pixel
    for threshold in (0.0, 0.1, 0.3, 0.6, 0.9):
        shown = apply_effect(photo, soft_mask, threshold=threshold)
        assert not shown.failed_open
        hidden.append(255 - shown.image.astype(int))
    for less, more in itertools.pairwise(hidden):
        assert (more <= less).all()
    assert (hidden[-1] < hidden[0]).any()


def test_a_maximum_that_equals_the_threshold_fails_open_also_in_the_last_bit():
    for threshold in (0.1, 0.3, 0.7, 1.0):
        mask = np.full((20, 20), threshold, np.float32)
        assert visibility(mask, threshold=float(np.float32(threshold))).failed_open
        mask[3, 4] = np.nextafter(np.float32(threshold), np.float32(2))
        if mask[3, 4] <= 1:
            assert not visibility(mask, threshold=float(np.float32(threshold))).failed_open


def test_a_mask_that_is_not_contiguous_or_of_doubles_gives_the_same(photo, soft_mask):
    straight = apply_effect(photo, soft_mask, threshold=0.4)
    for mask in (np.asfortranarray(soft_mask), soft_mask.astype(np.float64)):
        assert np.array_equal(apply_effect(photo, mask, threshold=0.4).image, straight.image)
    strided = np.zeros((96, 128, 3), np.uint8)
    strided[::2, ::2] = photo
    assert np.array_equal(
        apply_effect(strided[::2, ::2], soft_mask, threshold=0.4).image, straight.image
    )


def test_the_example_in_the_docstring_runs():
    found = doctest.testmod(effects)
    assert found.attempted >= 5
    assert not found.failed


def test_the_effects_are_a_library_that_loads_no_torch():
    tell = (
        "import trainer.use.effects, sys; print(*{'torch', 'ray', 'pipeline'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", tell], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
