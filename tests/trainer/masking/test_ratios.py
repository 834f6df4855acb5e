"""Adaptive ratios: the formula, its ends, and numbers within their bounds."""

import pytest
import torch

from trainer.masking.protocol import hidden_count
from trainer.masking.ratios import AdaptiveRatio, FixedRatio


def share_of(share: float, *, count: int = 200, b: int = 1) -> torch.Tensor:
    """Salience of which this share lies above a half."""
    return (torch.arange(count) < share * count).float().expand(b, count)


@pytest.mark.parametrize(("share", "ratio"), [(0.0, 0.65), (0.5, 0.75), (1.0, 0.85), (0.2, 0.69)])
def test_the_ratio_goes_from_its_lower_to_its_upper_end(share: float, ratio: float):
    adaptive = AdaptiveRatio(base=0.75, spread=0.10)
    assert adaptive.counts(share_of(share)).tolist() == [round(200 * ratio)]
    assert adaptive.bounds(200) == (130, 170)


def test_more_salience_never_hides_less():
    salience = torch.stack([share_of(k / 196, count=196)[0] for k in range(197)])
    counts = AdaptiveRatio(base=0.5, spread=0.4).counts(salience)
    assert (counts.diff() >= 0).all()
    expected = [hidden_count(0.1 + 0.8 * k / 196, 196) for k in range(197)]
    assert counts.tolist() == expected


def test_something_stays_visible_and_something_is_hidden_whatever_the_ratio():
    for base, spread in ((0.9, 0.1), (0.1, 0.1), (0.5, 0.5)):
        adaptive = AdaptiveRatio(base=base, spread=spread)
        for share in (0.0, 1.0):
            counts = adaptive.counts(share_of(share, count=8, b=3))
            fewest, most = adaptive.bounds(8)
            assert 1 <= fewest <= int(counts.min()) <= int(counts.max()) <= most <= 7


def test_an_image_alone_is_a_batch_and_several_take_the_mean():
    salience = torch.cat([share_of(s) for s in (0.0, 0.4, 1.0, 0.6)])
    each, all_ = (AdaptiveRatio(per=per) for per in ("image", "batch"))  # type: ignore[arg-type]
    assert each.counts(salience).tolist() == [130, 146, 170, 154]
    assert all_.counts(salience).tolist() == [150] * 4
    assert torch.equal(each.counts(salience[1:2]), all_.counts(salience[1:2]))


def test_delta_says_from_where_a_patch_is_salient():
    salience = torch.linspace(0, 1, 101)[None]
    counts = [
        int(AdaptiveRatio(base=0.5, spread=0.5, delta=delta).counts(salience))
        for delta in (0.895, 0.5, 0.095)
    ]
    assert counts == [11, 50, 91]


def test_a_fixed_ratio_is_the_same_for_any_image():
    fixed = FixedRatio(ratio=0.75)
    assert fixed.counts(share_of(0.1, count=196)) == 147
    assert fixed.bounds(196) == (147, 147)
