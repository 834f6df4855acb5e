"""RF-GAM and its plainer sibling, against sums written out and against what their limits must be."""

import math

import pytest
import torch

from trainer.data.chance import keys
from trainer.masking.attention import attend, column_means, stretched
from trainer.masking.gaussian_field import (
    GaussianField,
    field,
    grid_field,
    normalised,
    residual,
    visibility,
)
from trainer.masking.protocol import Patches, hidden_count
from trainer.masking.threshold import Threshold


def made_patches(b: int = 3, grid_hw: tuple[int, int] = (4, 6), blank: bool = False) -> Patches:
    tokens = torch.randn(b, grid_hw[0] * grid_hw[1], 8, generator=torch.Generator().manual_seed(0))
    chance = keys(0, range(b))
    return Patches(
        tokens=torch.ones_like(tokens) if blank else tokens, grid_hw=grid_hw, chance=chance
    )


def naive(importance, y, x, *, size_hw: tuple[int, int], sigma: float) -> torch.Tensor:
    """R(x, y) of one image as the paper writes it."""
    total = torch.zeros(size_hw)
    for i, top, left in zip(importance.tolist(), y.tolist(), x.tolist(), strict=True):
        for row in range(size_hw[0]):
            for column in range(size_hw[1]):
                square = (row - top) ** 2 + (column - left) ** 2
                total[row, column] += i * math.exp(-square / (2 * sigma**2))
    return total


@pytest.mark.parametrize("sigma", [0.4, 1.0, 3.0])
def test_the_field_is_the_double_sum(sigma: float):
    generator = torch.Generator().manual_seed(1)
    importance, y, x = torch.rand(3, 2, 5, generator=generator)
    y, x = 6 * y - 1, 8 * x - 1  # two sources lie outside
    found = field(importance, y, x, size_hw=(5, 7), sigma=sigma)
    for b in range(2):
        expected = naive(importance[b], y[b], x[b], size_hw=(5, 7), sigma=sigma)
        torch.testing.assert_close(found[b], expected, atol=1e-5, rtol=1e-5)


def test_sources_at_patches_give_the_field_of_the_same_sources_anywhere():
    sources = torch.rand(2, 4, 6, generator=torch.Generator().manual_seed(2))
    sources[:, 1:3] = 0.0
    places = torch.cartesian_prod(torch.arange(4.0), torch.arange(6.0))
    y, x = places.T[:, None].expand(2, 2, 24)
    found = grid_field(sources, sigma=1.3)
    torch.testing.assert_close(found, field(sources.flatten(1), y, x, size_hw=(4, 6), sigma=1.3))
    for b in range(2):
        expected = naive(sources[b].flatten(), y[b], x[b], size_hw=(4, 6), sigma=1.3)
        torch.testing.assert_close(found[b], expected, atol=1e-5, rtol=1e-5)


def test_one_source_is_highest_at_its_place_symmetric_and_falls_with_the_distance():
    sources = torch.zeros(1, 9, 9)
    sources[0, 4, 4] = 0.7
    radiance = grid_field(sources, sigma=1.5)[0]
    for row, column in ((4, 4), (4, 6), (1, 4), (7, 8)):
        square = (row - 4) ** 2 + (column - 4) ** 2
        expected = 0.7 * math.exp(-square / (2 * 1.5**2))
        assert radiance[row, column].item() == pytest.approx(expected, rel=1e-5)
    assert radiance.ge(0).all()
    torch.testing.assert_close(radiance, radiance.flip(0))
    torch.testing.assert_close(radiance, radiance.T)
    assert radiance[4, 4:].diff().lt(0).all()
    assert normalised(radiance[None]).amax() == 1.0


def test_a_small_sigma_gives_the_patches_themselves_and_a_large_one_hides_all_alike():
    patches = made_patches()
    near, far = (GaussianField(ratio=0.25, sigma=sigma).strength(patches) for sigma in (0.01, 1e4))
    chosen = Threshold(ratio=0.25)(patches)
    importance = stretched(column_means(attend(patches.tokens, similarity="dot")))
    torch.testing.assert_close(near, importance * chosen, atol=1e-30, rtol=1e-6)
    assert near[chosen].gt(0).all()
    torch.testing.assert_close(far, torch.ones_like(far))


def test_the_sources_are_the_share_of_patches_that_the_others_look_at_most():
    patches = made_patches()
    means = column_means(attend(patches.tokens, similarity="dot"))
    hidden = Threshold(ratio=0.25)(patches)
    assert hidden.sum(1).tolist() == [6, 6, 6]
    for row in range(3):
        assert set(hidden[row].nonzero().flatten().tolist()) == set(
            means[row].topk(6).indices.tolist()
        )


@pytest.mark.parametrize("ratio", [0.1, 0.25, 0.5, 0.6])
@pytest.mark.parametrize("kind", [Threshold, GaussianField])
def test_exactly_the_ratio_is_hidden(kind, ratio: float):
    patches = made_patches()
    masking = kind(ratio=ratio)
    count = hidden_count(ratio, 24)
    assert masking.bounds(24) == (count, count)
    assert masking(patches).sum(1).tolist() == [count] * 3


def test_what_is_hidden_lies_deepest_in_the_field():
    patches = made_patches()
    masking = GaussianField(ratio=0.5, sigma=1.0)
    strength, hidden = masking.strength(patches), masking(patches)
    for row in range(3):
        assert strength[row][hidden[row]].min() >= strength[row][~hidden[row]].max()
    assert not torch.equal(hidden, Threshold(ratio=0.5)(patches))  # it is not importance alone


@pytest.mark.parametrize("kind", [Threshold, GaussianField])
def test_patches_of_a_blank_image_are_hidden_by_chance(kind):
    blank = made_patches(blank=True)
    hidden = kind(ratio=0.25)(blank)
    assert hidden.sum(1).tolist() == [6, 6, 6]
    assert not torch.equal(hidden[0], hidden[1])
    assert GaussianField(ratio=0.25).strength(blank).eq(0).all()


def test_what_stays_visible_at_a_peak_falls_in_a_line_from_a_half_towards_nothing():
    assert residual(0.0) == 0.5
    assert residual(1.0) == 0.0
    assert residual(0.25) == pytest.approx(0.375)
    epochs = 8  # the last of the paper's epochs is the last step of ours
    assert residual((epochs - 1) / epochs) == pytest.approx(0.5 / epochs)
    strength = torch.tensor([0.0, 0.5, 1.0])
    torch.testing.assert_close(visibility(strength, k=residual(0.0)), torch.tensor([1, 0.75, 0.5]))
    torch.testing.assert_close(visibility(strength, k=residual(1.0)), torch.tensor([1, 0.5, 0.0]))
