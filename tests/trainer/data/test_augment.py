"""Augmentation keeps image, mask and words in agreement."""

import pytest
import torch

from trainer.data.augment import (
    Draws,
    choose_mirrors,
    draw,
    drop_words,
    move,
    recolour,
    swap_sides,
)
from trainer.data.config import AugmentConfig
from trainer.data.tokens import Tokenizer


def draws(count: int) -> Draws:
    return draw(0, count=count, tokens=8, own=range(count))


@pytest.mark.parametrize(
    ("text", "swapped"),
    [
        ("the mug left of the bowl", "the mug right of the bowl"),
        ("LEFT, Right, leftmost", "RIGHT, Left, rightmost"),
        ("the red mug", "the red mug"),
    ],
)
def test_left_and_right_change_places_and_back(text: str, swapped: str):
    assert swap_sides(text) == swapped
    assert swap_sides(swapped) == text


def test_an_instruction_in_another_script_is_never_mirrored():
    mirrors = choose_mirrors(["左の車", "the car"] * 50, AugmentConfig(hflip=1.0), draws(100))
    assert mirrors.tolist() == [False, True] * 50


@pytest.mark.parametrize("config", [AugmentConfig(scale=0, shift=0), AugmentConfig(scale=1e-9, shift=0)])  # fmt: skip
def test_a_mirror_image_is_mirrored_exactly(config: AugmentConfig):
    image, masks = torch.rand(2, 3, 8, 12), torch.rand(2, 2, 8, 12)
    mirror = torch.tensor([True, False])
    moved, its, valid, theta = move(image, masks, mirror=mirror, config=config, draws=draws(2))
    assert torch.allclose(moved[0], image[0].flip(2), atol=1e-5)
    assert torch.allclose(its[1], masks[1], atol=1e-5)
    assert bool((valid == 1).all())
    assert theta[:, 0, 0].tolist() == pytest.approx([-1.0, 1.0])


def test_image_and_mask_move_together_and_the_outside_is_invalid():
    image = torch.zeros(8, 3, 16, 24)
    image[:, :, 4:12, 8:16] = 1.0
    config = AugmentConfig(scale=0.3, shift=0.3)
    moved, masks, valid, theta = move(
        image, image[:, :2], mirror=torch.zeros(8, dtype=torch.bool), config=config, draws=draws(8)
    )  # fmt: skip
    assert torch.equal(moved[:, :2], masks)
    assert bool((valid == 0).any())
    assert bool((moved[(valid == 0).expand_as(moved)] == 0).all())
    grid = torch.nn.functional.affine_grid(theta, [8, 1, 16, 24], align_corners=False)
    again = torch.nn.functional.grid_sample(image, grid, align_corners=False)
    torch.testing.assert_close(moved, again * valid)


def test_colours_stay_in_range_and_zero_turns_it_off():
    image = torch.rand(4, 3, 8, 8)
    changed = recolour(image, AugmentConfig(colour=0.9), draws(4))
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert not torch.equal(changed, image)
    assert torch.equal(recolour(image, AugmentConfig(colour=0), draws(4)), image)


def test_only_real_words_are_dropped():
    tokens = torch.tensor([[5, 6, 0], [1, 7, 0]])
    dropped = drop_words(
        tokens,
        Tokenizer(words=("mug",)),
        config=AugmentConfig(word_drop=1 - 1e-7),
        draws=draws(2),
    )
    assert dropped.tolist() == [[1, 1, 0], [1, 1, 0]]
