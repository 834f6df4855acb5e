"""Counting and choosing what is hidden, and random masking."""

import pytest
import torch

from trainer.data.chance import keys
from trainer.masking.protocol import Patches, hidden_count, hide_highest
from trainer.masking.uniform import Uniform


@pytest.mark.parametrize(
    ("ratio", "visible"), [(0.6, 78), (0.65, 68), (0.7, 58), (0.75, 49), (0.8, 39), (0.85, 29)]
)
def test_fractions_of_visible_patches_are_cut_off(ratio: float, visible: int):
    assert 196 - hidden_count(ratio, 196) == visible


def test_no_patch_is_lost_to_a_binary_digit():
    for tenths in range(1, 10):
        for count in range(10, 2001, 10):
            assert hidden_count(tenths / 10, count) == tenths * count // 10


def test_something_is_always_hidden_and_something_visible():
    assert hidden_count(0.0, 12) == 1
    assert hidden_count(1.0, 12) == 11
    assert Uniform(ratio=1.0).bounds(12) == (11, 11)


def test_the_highest_are_hidden_as_many_as_each_row_says():
    scores = torch.tensor([[3.0, 1.0, 2.0, 5.0], [0.0, 0.0, 0.0, 0.0]])
    assert hide_highest(scores, 2).tolist() == [
        [True, False, False, True],
        [False, False, True, True],
    ]
    assert hide_highest(scores, torch.tensor([3, 1])).sum(1).tolist() == [3, 1]


def patches(chance: torch.Tensor) -> Patches:
    return Patches(tokens=torch.zeros(len(chance), 12, 4), grid_hw=(3, 4), chance=chance)


def test_random_masking_hides_exactly_the_ratio_and_every_patch_alike():
    hidden = Uniform(ratio=0.75)(patches(keys(0, range(4000))))
    assert hidden.sum(1).eq(9).all()
    assert (hidden.float().mean(0) - 0.75).abs().max() < 0.03


def test_random_masking_is_a_function_of_each_samples_chance():
    chance = keys(3, range(6))
    whole = Uniform(ratio=0.5)(patches(chance))
    assert torch.equal(Uniform(ratio=0.5)(patches(chance[2:4])), whole[2:4])
    assert not torch.equal(Uniform(ratio=0.5)(patches(keys(4, range(6)))), whole)
