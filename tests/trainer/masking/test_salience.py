"""SBAM's salience against three plain lines, and what is hidden by it."""

from typing import Any

import pytest
import torch
from torch import Tensor

from trainer.data.chance import keys, uniform
from trainer.masking.attention import stretched
from trainer.masking.protocol import Patches
from trainer.masking.ratios import AdaptiveRatio, FixedRatio
from trainer.masking.salience import Salience, column_sums
from trainer.models.vit.config import VitConfig
from trainer.models.vit.encoder import Encoder

HALF = FixedRatio(ratio=0.5)


def tokens(b: int = 4, count: int = 24, dim: int = 8, *, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(b, count, dim, generator=generator).cumsum(1)


def patches(x: Tensor, *, seed: int = 0) -> Patches:
    return Patches(tokens=x, grid_hw=(4, x.shape[1] // 4), chance=keys(seed, range(len(x))))


def plain(x: Tensor, *, normalised: bool, temperature: float) -> Tensor:
    x = x / x.norm(dim=2, keepdim=True) if normalised else x
    a = ((x @ x.transpose(1, 2)) / temperature).softmax(2)
    return a.sum(1)


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("temperature", [0.05, 1.0, 7.0])
def test_columns_add_up_to_the_number_of_patches_and_are_those_of_the_plain_lines(
    normalised: bool, temperature: float
):
    x = tokens()
    ours = column_sums(x, normalised=normalised, temperature=temperature)
    expected = plain(x, normalised=normalised, temperature=temperature)
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.sum(1), torch.full((4,), 24.0), rtol=1e-5, atol=0)


def test_salience_goes_from_nothing_to_one():
    s = stretched(column_sums(tokens(), normalised=True, temperature=0.05))
    assert s.amin(1).eq(0).all()
    assert s.amax(1).eq(1).all()


def test_of_cosines_the_length_of_a_token_plays_no_part_and_of_products_it_does():
    x = tokens()
    longer = x * (1 + torch.rand(4, 24, 1, generator=torch.Generator().manual_seed(1)))
    for normalised in (True, False):
        short, long = (column_sums(t, normalised=normalised, temperature=1.0) for t in (x, longer))
        assert torch.allclose(short, long, rtol=1e-4, atol=1e-5) == normalised


@pytest.mark.parametrize("normalised", [True, False])
def test_where_all_patches_are_alike_chance_decides_and_nothing_is_nan(normalised: bool):
    blank = torch.full((2000, 12, 6), 0.3)
    hidden, signs = Salience(ratio=HALF, normalised=normalised, noise=0.0).told(
        Patches(tokens=blank, grid_hw=(3, 4), chance=keys(0, range(2000)))
    )
    assert hidden.sum(1).eq(6).all()
    assert (hidden.float().mean(0) - 0.5).abs().max() < 0.05
    assert signs["flat"].eq(1).all()
    torch.testing.assert_close(signs["top_share"], torch.full((2000,), 1 / 12))


@pytest.mark.parametrize("dark", [0.0, 1e-20])
def test_tokens_of_no_length_are_no_numbers_to_fear(dark: float):
    x = tokens()
    x[:, 3:9] = dark
    for normalised in (True, False):
        for temperature in (0.001, 1.0):
            sums = column_sums(x, normalised=normalised, temperature=temperature)
            assert sums.isfinite().all()
            torch.testing.assert_close(sums.sum(1), torch.full((4,), 24.0), rtol=1e-4, atol=0)


def test_where_each_patch_is_like_itself_alone_chance_decides():
    """What rounding leaves of an identity must not be stretched to salience."""
    drawn = torch.randn(4, 64, 24, generator=torch.Generator().manual_seed(0))
    x = 30.0 * torch.linalg.qr(drawn).Q.transpose(1, 2)
    masking = Salience(ratio=HALF, normalised=False, noise=0.0)
    one, other = (masking.told(patches(x, seed=seed)) for seed in (0, 1))
    assert one[1]["flat"].eq(1).all()
    assert not torch.equal(one[0], other[0])


def test_without_noise_just_the_most_salient_are_hidden():
    x = tokens()
    hidden = Salience(ratio=FixedRatio(ratio=0.75), noise=0.0)(patches(x))
    best = plain(x, normalised=True, temperature=0.05).topk(18, dim=1).indices
    expected = torch.zeros(4, 24, dtype=torch.bool).scatter(1, best, True)
    assert torch.equal(hidden, expected)


def test_a_patch_more_salient_by_the_noise_is_hidden_before_the_other():
    x, violations, tried = tokens(b=300), 0, 0
    s = stretched(column_sums(x, normalised=True, temperature=0.05))
    for noise in (0.5, 0.1):
        hidden = Salience(ratio=HALF, noise=noise)(patches(x))
        surely = s[:, :, None] > s[:, None, :] + noise
        violations += int((surely & ~hidden[:, :, None] & hidden[:, None, :]).sum())
        tried += int(surely.sum())
    assert tried > 10_000
    assert violations == 0


def test_what_is_hidden_is_highest_in_salience_plus_half_of_chance():
    x = tokens(b=50)
    asked = patches(x)
    keyed = stretched(plain(x, normalised=True, temperature=0.05)) + 0.5 * uniform(asked.chance, 24)
    expected = torch.zeros(50, 24, dtype=torch.bool).scatter(1, keyed.topk(12, 1).indices, True)
    hidden = Salience(ratio=HALF)(asked)
    assert (hidden == expected).float().mean() > 0.999  # two keys may differ in a last digit


@pytest.mark.parametrize("per", ["image", "batch"])
def test_an_image_hides_as_many_as_its_salience_without_chance_says(per: Any):
    """K = floor(L (1 - (m - v + 2 v y))), y the share of its patches whose salience is above delta."""
    x = tokens(b=50)
    ratio = AdaptiveRatio(base=0.6, spread=0.3, delta=0.4, per=per)
    hidden = Salience(ratio=ratio)(patches(x))
    y = (stretched(plain(x, normalised=True, temperature=0.05)) > 0.4).double().mean(1)
    if per == "batch":
        y = y.mean().expand(50)
    visible = (24 * (1 - (0.3 + 0.6 * y)) + 1e-6).floor().long()
    assert (~hidden).sum(1).tolist() == visible.tolist()
    assert (len(set(visible.tolist())) == 1) == (per == "batch")


def test_much_noise_is_random_masking():
    x = tokens(b=1).expand(3000, -1, -1)
    hidden = Salience(ratio=HALF, noise=1e4)(patches(x))
    assert (hidden.float().mean(0) - 0.5).abs().max() < 0.04
    some = Salience(ratio=HALF, noise=0.5)(patches(x))
    assert (some.float().mean(0) - 0.5).abs().max() > 0.4


def test_the_published_form_ends_in_one_token_over_smooth_patches_and_the_default_does_not():
    """Before anything is learnt; over patches of which some are brighter, as photographs have them."""
    torch.manual_seed(0)
    encoder = Encoder(VitConfig(patch=8, dim=96, depth=1, table_hw=(14, 14)))
    small = torch.rand(4, 3, 7, 7, generator=torch.Generator().manual_seed(0))
    image = torch.nn.functional.interpolate(small, size=(112, 112), mode="bicubic").clamp(0, 1)
    with torch.no_grad():
        asked = Patches(tokens=encoder.embed(image), grid_hw=(14, 14), chance=torch.arange(4))
    published = Salience(ratio=HALF, normalised=False, temperature=1.0).told(asked)[1]
    ours = Salience(ratio=HALF).told(asked)[1]
    assert published["salient"].mean() < 0.1
    assert 0.25 < ours["salient"].mean() < 0.75
    assert ours["top_share"].max() < 2 / 196
    longest = asked.tokens * torch.where(torch.arange(196) == 5, 10.0, 1.0)[None, :, None]
    extreme = Patches(tokens=longest, grid_hw=(14, 14), chance=torch.arange(4))
    told = Salience(ratio=HALF, normalised=False, temperature=1.0).told(extreme)[1]
    assert told["top_share"].min() > 0.3


@pytest.mark.parametrize("ratio", [HALF, AdaptiveRatio(base=0.5, spread=0.3)])
def test_no_gradient_flows_through_the_choice(ratio: FixedRatio | AdaptiveRatio):
    x = tokens().requires_grad_()
    hidden, signs = Salience(ratio=ratio).told(patches(x))
    assert not any(t.requires_grad for t in (hidden, *signs.values()))
