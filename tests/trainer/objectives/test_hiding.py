"""Hiding features from the decoder: what, how much, when, and never from a trained model."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.trainer.objectives.little_batch import little_batch, segmenter
from tests.trainer.objectives.test_no_host_reads import Refuse
from trainer.data.chance import keys
from trainer.engine.precision import seen_by_objectives
from trainer.models.light_head import LightHead
from trainer.models.peers import Peers
from trainer.models.protocol import Features
from trainer.objectives.config import DiscriminateConfig, HideConfig, LossConfig
from trainer.objectives.hiding import FeatureMask, Hiding, cell_of, pool, spread
from trainer.objectives.joint import Joint
from trainer.objectives.segmentation import Segmentation
from trainer.weighting.co_teaching import CoTeaching
from trainer.weighting.uniform import Uniform

KINDS = ("random", "threshold", "rf-gam")
PLAIN = Segmentation(loss=LossConfig(), weigher=Uniform())


def mask(kind: Any = "rf-gam", *, levels: int = 3, **options: Any) -> FeatureMask:
    return FeatureMask(HideConfig(kind=kind, **options), levels=levels)


def features(seed: int = 0, b: int = 3) -> Features:
    """Three levels, of which the first two are cut into patches."""
    generator = torch.Generator().manual_seed(seed)
    shapes = ((4, 24, 32), (6, 12, 16), (8, 6, 8))
    maps = [torch.randn(b, *shape, generator=generator) for shape in shapes]
    return Features(
        maps=tuple(maps), text=torch.zeros(b, 2, 4), pooled=torch.zeros(b, 4), real=torch.ones(b, 2).bool(),
        frame_hw=(48, 64),
    )  # fmt: skip


def chance(b: int = 3) -> torch.Tensor:
    return keys(0, range(b))


@pytest.mark.parametrize("kind", ["random", "threshold"])
def test_the_ratio_of_each_level_is_exact_and_rises_with_the_level_and_the_training(kind: str):
    m = mask(kind, ratios=(0.1, 0.25, 0.5, 0.75), ratio_growth=0.125)
    counts = {}
    for progress in (0.0, 0.5, 0.999):
        strengths = m.strengths(features(), chance(), progress)
        assert [s.shape[1:] for s in strengths] == [(6, 8)] * 3
        assert all(s.unique().tolist() == [0.0, 1.0] for s in strengths)
        per_image = torch.stack([s.flatten(1).sum(1) for s in strengths])
        assert per_image.eq(per_image[:, :1]).all()
        counts[progress] = per_image[:, 0].tolist()
    assert counts[0.0] == [12, 24, 36]  # the last three ratios, of 48 patches
    assert counts[0.5] == [15, 27, 39]
    assert counts[0.999] == [18, 30, 42]


def importance(level: torch.Tensor, cell: int) -> torch.Tensor:
    """How much the patches of a level look at each of them, without itself: bl, as three plain lines."""
    x = torch.nn.functional.avg_pool2d(level, cell).flatten(2).transpose(1, 2)
    a = (x @ x.transpose(1, 2) / x.shape[2] ** 0.5).softmax(2)
    return (a.sum(1) - a.diagonal(dim1=1, dim2=2)) / (x.shape[1] - 1)


def test_what_goes_first_is_what_the_other_patches_look_at_most():
    found = features()
    hidden = mask("threshold", ratios=(0.25, 0.25, 0.5)).strengths(found, chance(), 0.0)
    for level, cell, strength, count in zip(
        found.maps, (4, 2, 1), hidden, (12, 12, 24), strict=True
    ):
        first = importance(level, cell).topk(count, 1).indices
        expected = torch.zeros(3, 48).scatter(1, first, 1.0)
        assert torch.equal(strength.flatten(1), expected)


def test_a_field_is_the_double_sum_over_the_patches_that_are_looked_at_most():
    found = features()
    soft = mask(sigma=1.3, ratios=(0.25, 0.25, 0.5)).strengths(found, chance(), 0.0)
    places = torch.cartesian_prod(torch.arange(6.0), torch.arange(8.0))
    light = torch.exp(-torch.cdist(places, places).square() / (2 * 1.3**2))
    for level, cell, strength, count in zip(found.maps, (4, 2, 1), soft, (12, 12, 24), strict=True):
        scores = importance(level, cell)
        sources = torch.zeros_like(scores).scatter(1, scores.topk(count, 1).indices, 1.0)
        field = (sources * (scores - scores.amin(1, keepdim=True))) @ light
        expected = (field / field.amax(1, keepdim=True)).unflatten(1, (6, 8))
        torch.testing.assert_close(strength, expected, atol=1e-5, rtol=1e-4)


def test_a_field_has_the_ratio_of_sources_and_is_soft_around_them():
    narrow = mask(sigma=0.01, ratios=(0.25, 0.25, 0.5), ratio_growth=0.0)
    wide = mask(sigma=1.0, ratios=(0.25, 0.25, 0.5), ratio_growth=0.0)
    for s, w, count in zip(
        narrow.strengths(features(), chance(), 0.0),
        wide.strengths(features(), chance(), 0.0),
        (12, 12, 24),
        strict=True,
    ):
        assert s.flatten(1).gt(1e-30).sum(1).tolist() == [count] * 3
        assert s.flatten(1).amax(1).tolist() == [1.0] * 3
        assert w.flatten(1).amax(1).tolist() == [1.0] * 3
        assert w.gt(0).all()


def test_a_hard_field_hides_exactly_its_ratio():
    m = mask(soft=False, ratios=(0.25, 0.25, 0.5), ratio_growth=0.0)
    hidden = [s.flatten(1).sum(1).tolist() for s in m.strengths(features(), chance(), 0.0)]
    assert hidden == [[12] * 3, [12] * 3, [24] * 3]


@pytest.mark.parametrize("kind", KINDS)
def test_features_keep_a_half_where_they_are_hidden_at_first_and_nothing_at_last(kind: str):
    found = features()
    for progress, k in ((0.0, 0.5), (0.5, 0.25), (1.0, 0.0)):
        m = mask(kind, ratio_growth=0.0)
        masked, gone = m(found, chance(), progress)
        left = [a / b for a, b in zip(masked.maps, found.maps, strict=True)]
        strengths = m.strengths(found, chance(), progress)
        for share, strength, level in zip(left, strengths, found.maps, strict=True):
            expected = 1 - (1 - k) * spread(strength, level, most=64)
            torch.testing.assert_close(share, expected[:, None].expand_as(share))
            assert share.amin().item() == pytest.approx(k)
        mean = 1 - torch.stack([share.mean() for share in left]).mean()
        torch.testing.assert_close(gone, mean)
    assert masked.text is found.text
    assert masked.frame_hw == found.frame_hw


def test_the_kinds_hide_different_places_and_what_matters_most_is_not_left_to_chance():
    found = features()
    by_kind = {kind: mask(kind, soft=False).strengths(found, chance(), 0.0) for kind in KINDS}
    for level in range(3):
        random, threshold, field = (by_kind[kind][level] for kind in KINDS)
        assert not torch.equal(random, threshold)
        assert not torch.equal(threshold, field)
    for kind in KINDS:
        again = mask(kind, soft=False).strengths(found, keys(1, range(3)), 0.0)
        same = [torch.equal(a, b) for a, b in zip(by_kind[kind], again, strict=True)]
        assert same == [kind != "random"] * 3
    levels = by_kind["random"]
    small, large = levels[0] > 0, levels[2] > 0
    assert (small & ~large).any()  # each level has a chance of its own


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_is_masked_as_it_would_be_alone(kind: str):
    whole, part = features(), features()
    part = replace(part, maps=tuple(m[1:2] for m in part.maps))
    masked, _ = mask(kind)(whole, chance(), 0.5)
    alone, _ = mask(kind)(part, chance()[1:2], 0.5)
    for a, b in zip(masked.maps, alone.maps, strict=True):
        torch.testing.assert_close(a[1:2], b)


def test_levels_are_cut_into_few_square_patches_whatever_their_size():
    assert [cell_of(hw, most=64) for hw in ((8, 8), (24, 32), (64, 64), (9, 17))] == [1, 4, 8, 2]
    level = torch.arange(15.0).reshape(1, 1, 3, 5)
    means = pool(level, most=6)
    torch.testing.assert_close(means, torch.tensor([[[[3, 5, 6.5], [10.5, 12.5, 14]]]]))
    wide = spread(means[:, 0], level, most=6)[0]
    assert wide.tolist() == [[3, 3, 5, 5, 6.5], [3, 3, 5, 5, 6.5], [10.5, 10.5, 12.5, 12.5, 14]]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_hidden_from_what_does_not_train(kind: str):
    batch, model = little_batch(), segmenter()
    hiding = Hiding(PLAIN, mask(kind))
    trained = hiding.train()(model, batch, 0.5)
    asked = hiding.eval()(model, batch, 0.5)
    plain = PLAIN(model, batch, 0.5)
    assert torch.equal(asked.total, plain.total)
    assert asked.parts.keys() == plain.parts.keys()
    assert not torch.equal(trained.total, plain.total)
    assert 0.0 < trained.parts["hidden"] / trained.count < 0.5


def test_hiding_nothing_is_plain_training_to_the_bit():
    """With k = 1 every feature stays, so what is left is encode and decode in place of forward."""
    batch, model = little_batch(), segmenter()
    everything = Hiding(PLAIN, mask("rf-gam", k0=1.0))
    found = everything(model, batch, 0.0)
    plain = PLAIN(model, batch, 0.0)
    assert torch.equal(found.total, plain.total)
    assert found.parts["hidden"].item() == 0.0


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_reads_no_number_on_the_host_and_teaches_the_encoder(kind: str):
    batch, model = little_batch(), segmenter()
    with Refuse():
        step = Hiding(PLAIN, mask(kind))(model, batch, 0.51)
        (step.total / step.count).backward()
    grads = [p.grad for p in model.image.parameters()]
    assert all(g is not None and bool(g.isfinite().all()) for g in grads)


def test_peers_lose_what_matters_to_each_of_them():
    batch, models = little_batch(), [segmenter(0), segmenter(1)]
    weigher = CoTeaching(noise_rate=0.0, warmup=0.0)
    objective = Segmentation(loss=LossConfig(), weigher=weigher)
    both = Hiding(objective, mask())(Peers(models), batch, 0.5)
    alone = [Hiding(PLAIN, mask())(model, batch, 0.5) for model in models]
    torch.testing.assert_close(both.total, alone[0].total + alone[1].total)
    torch.testing.assert_close(both.count, alone[0].count)
    hidden = (alone[0].parts["hidden"] + alone[1].parts["hidden"]) / 2
    torch.testing.assert_close(both.parts["hidden"], hidden)


def test_a_head_that_learns_beside_sees_what_the_decoder_sees():
    batch, model = little_batch(), segmenter()
    head = LightHead(channels=32, text_dim=16)
    joint = Joint(
        loss=LossConfig(), judge=DiscriminateConfig(), head=head, weigher=Uniform(), warmup=0.0
    )
    step = Hiding(joint, mask())(model, batch, 0.5)
    assert step.parts.keys() == joint(model, batch, 0.5).parts.keys() | {"hidden"}
    assert not torch.equal(step.parts["verdict"], joint(model, batch, 0.5).parts["verdict"])


def test_a_model_in_half_precision_is_masked_in_full():
    batch, model = little_batch(), segmenter()
    low = seen_by_objectives(model, device_type="cpu", precision="bfloat16", compiled=False)
    step = Hiding(PLAIN, mask())(low, batch, 0.5)
    assert step.total.dtype == torch.float32
    full = Hiding(PLAIN, mask())(model, batch, 0.5)
    torch.testing.assert_close(step.total, full.total, rtol=0.05, atol=0.0)
    assert not torch.equal(step.total, full.total)


def test_fewer_ratios_than_levels_are_refused():
    with pytest.raises(ValueError, match=r"holds 2 ratios .* 3 levels"):
        mask(ratios=(0.1, 0.2))
    assert mask(levels=1).ratios(0.5) == pytest.approx((0.45,))
