"""The vision transformer shown some of its patches: nothing depends on padding, order or what is hidden."""

import pytest
import torch

from trainer.models.vit.config import VitConfig
from trainer.models.vit.encoder import Encoder
from trainer.models.vit.shown import show


@pytest.fixture
def encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder(VitConfig(patch=4, dim=16, depth=2, heads=2, table_hw=(4, 6))).eval()


@pytest.fixture
def image() -> torch.Tensor:
    return torch.rand(3, 3, 16, 24, generator=torch.Generator().manual_seed(1))


def test_a_patch_of_the_map_stands_where_it_stands_in_the_image(
    encoder: Encoder, image: torch.Tensor
):
    changed = image.clone()
    changed[:, :, 4:8, 12:16] = 0
    moved = (encoder.embed(image) - encoder.embed(changed)).abs().sum(2).unflatten(1, (4, 6))
    assert (moved[:, 1, 3] > 0).all()
    moved[:, 1, 3] = 0
    assert not moved.any()
    assert encoder(image).shape == (3, 16, 4, 6)


def test_lists_of_different_lengths_give_what_each_gives_alone(
    encoder: Encoder, image: torch.Tensor
):
    hidden = torch.zeros(3, 24, dtype=torch.bool)
    for row, count in enumerate((5, 9, 12)):
        hidden[row, torch.randperm(24, generator=torch.Generator().manual_seed(row))[:count]] = True
    tokens = encoder.embed(image)
    shown = show(hidden, bounds=(5, 12))
    assert shown.places.shape == (3, 19)
    features = encoder.encode(shown.of(tokens), shown.real)
    filler = torch.full((16,), -7.0)
    grid = shown.back(features, filler, 24)
    for row in range(3):
        alone = encoder.encode(tokens[row : row + 1, ~hidden[row]])
        torch.testing.assert_close(grid[row, ~hidden[row]], alone[0], rtol=1e-5, atol=1e-5)
        assert (grid[row, hidden[row]] == -7).all()


def test_an_equal_number_needs_no_padding_and_keeps_the_order_of_the_grid():
    hidden = torch.tensor([[True, False, False, True], [False, True, True, False]])
    shown = show(hidden, bounds=(2, 2))
    assert shown.real is None
    assert shown.places.tolist() == [[1, 2], [0, 3]]


def test_without_positions_patches_are_a_bag(encoder: Encoder, image: torch.Tensor):
    bag = encoder.embed(image, torch.tensor([False, False, True]))
    order = torch.randperm(24, generator=torch.Generator().manual_seed(0))
    pooled, shuffled = encoder.encode(bag).mean(1), encoder.encode(bag[:, order]).mean(1)
    torch.testing.assert_close(pooled, shuffled, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(bag[2], encoder.embed(image)[2])
    positions = encoder.positions_of((4, 6))
    torch.testing.assert_close(encoder.embed(image)[0] - bag[0], positions, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["fixed", "learnt"])
def test_a_larger_grid_has_the_positions_of_the_table_in_between(kind: str):
    config = VitConfig(patch=4, dim=16, depth=1, heads=2, positions=kind, table_hw=(4, 6))  # type: ignore[arg-type]
    encoder = Encoder(config)
    large = encoder.positions_of((8, 12)).unflatten(0, (8, 12))
    small = encoder.positions_of((4, 6)).unflatten(0, (4, 6))
    assert large.shape == (8, 12, 16)
    back = large.unflatten(0, (4, 2)).unflatten(2, (6, 2)).mean((1, 3))
    assert (back - small)[1:3, 1:5].abs().mean() < 0.35 * small.abs().mean()


def test_what_is_learnt_takes_part_in_training(encoder: Encoder, image: torch.Tensor):
    learnt = Encoder(
        VitConfig(patch=4, dim=16, depth=1, heads=2, positions="learnt", table_hw=(2, 3))
    )
    learnt(image).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in learnt.parameters())
    assert "positions" in learnt.state_dict()
    assert "positions" not in encoder.state_dict()
