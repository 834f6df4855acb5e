"""The training frame is a squash: what goes into it comes back where it was, for every shape of photograph."""

import cv2
import numpy as np
import pytest
import torch

from tests.trainer.data.test_augment import draws
from trainer.data.augment import move
from trainer.data.config import AugmentConfig
from trainer.data.table import resize_image, resize_mask
from trainer.losses import bce_per_sample, dice_per_sample
from trainer.use.predictor import stretch

FRAMES = [(1024, 1024), (256, 256), (192, 256)]
SHAPES = [(480, 640), (640, 480), (427, 640), (300, 1000), (1024, 1024)]


def ellipse(size_hw: tuple[int, int]) -> np.ndarray:
    """An ellipse off the middle, uint8 (h, w) 0 or 255."""
    height, width = size_hw
    mask = np.zeros(size_hw, np.uint8)
    axes = (width // 5, height // 4)
    return np.asarray(cv2.ellipse(mask, (width // 3, height // 2), axes, 20, 0, 360, 255, -1))


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_mask_that_is_squashed_and_stretched_is_where_it_was(
    shape: tuple[int, int], frame: tuple[int, int]
):
    mask = ellipse(shape)
    small = resize_mask(mask, frame)
    assert small.shape == frame
    back = stretch((small / np.float32(255)).astype(np.float32), shape)
    assert back.shape == shape
    found, truth = back >= 0.5, mask > 127
    assert (found & truth).sum() / (found | truth).sum() > 0.98
    for axis in (0, 1):
        middle = [float(np.nonzero(m)[axis].mean()) for m in (found, truth)]
        assert middle[0] == pytest.approx(middle[1], abs=0.25), "no shift by half a pixel"


@pytest.mark.parametrize("shape", SHAPES)
def test_image_and_mask_are_squashed_alike(shape: tuple[int, int]):
    mask = ellipse(shape)
    image = np.repeat(mask[..., None], 3, axis=2)
    assert np.array_equal(resize_image(image, (256, 256))[..., 0], resize_mask(mask, (256, 256)))


def test_a_target_that_leaves_the_frame_gives_a_finite_loss_that_falls_to_nothing():
    """The official reader's crops can leave an empty target, and its Dice is then a cliff at 1."""
    image, masks = torch.rand(64, 3, 16, 24), torch.zeros(64, 1, 16, 24)
    masks[:, :, 6:9, 10:13] = 1.0
    config = AugmentConfig(scale=0.5, shift=0.5)
    mirror = torch.zeros(64, dtype=torch.bool)
    _, target, valid, _ = move(image, masks, mirror=mirror, config=config, draws=draws(64))
    gone = (target * valid).flatten(1).sum(1) == 0
    assert bool(gone.any()), "no target left the frame; the test shows nothing"
    assert not bool(gone.all())
    losses = []
    for level in (0.0, -6.0, -12.0):
        logits = torch.full_like(target, level).requires_grad_()
        loss = bce_per_sample(logits, target, valid) + dice_per_sample(logits, target, valid)
        assert bool(torch.isfinite(loss).all())
        (gradient,) = torch.autograd.grad(loss.sum(), logits)
        assert bool(torch.isfinite(gradient).all())
        losses.append(loss[gone].max().item())
    assert losses[0] > losses[1] > losses[2]
    assert losses[2] < 0.01
