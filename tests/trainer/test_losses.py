"""The losses against what can be computed by hand, and the properties that published code got wrong."""

import math

import pytest
import torch

from trainer.losses import (
    bce_per_sample,
    dice_per_sample,
    plain_bce_loss,
    pu_loss,
    weighted_sum,
)

CELLS = 4
P_GOOD = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
P_BAD = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)


def constant(p: float, h: float, size: int = 32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    shape = (1, 1, size, size)
    logit = math.log(p / (1.0 - p))
    return torch.full(shape, logit), torch.full(shape, h), torch.ones(shape)


def test_a_column_of_weights_is_refused_because_it_would_average_the_weighting_away():
    losses, weights = torch.tensor([[1.0, 3.0]]), torch.tensor([[0.9, 0.1]])
    assert (weighted_sum(losses, weights) / weights.sum()).item() == pytest.approx(1.2)
    broadcast = (weights.T * losses).sum() / (weights.sum() * 2)
    assert broadcast.item() == pytest.approx(2.0)  # the plain mean: what the bug computes
    with pytest.raises(ValueError, match="broadcast"):
        weighted_sum(losses, weights.T)
    with pytest.raises(ValueError, match="broadcast"):
        weighted_sum(losses[0], weights[0])


def test_weights_of_one_give_the_plain_mean_bit_for_bit():
    losses = torch.rand(1, 24, generator=torch.Generator().manual_seed(0))
    ones = torch.ones(1, 24)
    assert torch.equal(weighted_sum(losses, ones) / ones.sum(), losses.mean())


def test_a_sample_of_no_weight_adds_nothing_even_when_its_loss_is_not_a_number():
    losses = torch.tensor([[1.0, torch.nan]])
    assert weighted_sum(losses, torch.tensor([[2.0, 0.0]])).item() == 2.0


def test_no_weight_at_all_gives_zero_loss_and_zero_gradient():
    losses = torch.tensor([[1.0, 2.0]], requires_grad=True)
    loss = weighted_sum(losses, torch.zeros(1, 2))
    loss.backward()
    assert loss.item() == 0.0
    assert losses.grad is not None
    assert torch.equal(losses.grad, torch.zeros(1, 2))


def test_no_gradient_flows_into_the_weights():
    losses, weights = torch.rand(1, 3, requires_grad=True), torch.rand(1, 3, requires_grad=True)
    weighted_sum(losses, weights).backward()
    assert weights.grad is None
    assert torch.allclose(losses.grad, weights.detach())  # pyright: ignore


def test_bce_is_least_where_the_prediction_equals_a_soft_target():
    values = {p: bce_per_sample(*constant(p, 0.3)).item() for p in (0.1, 0.2, 0.3, 0.4, 0.6)}
    assert min(values, key=lambda p: values[p]) == 0.3


def test_bce_plus_dice_is_biased_towards_saturation_for_a_soft_target():
    grid = [i / 1000 for i in range(400, 800)]

    def both(p: float) -> float:
        return (bce_per_sample(*constant(p, 0.5)) + dice_per_sample(*constant(p, 0.5), eps=1e-9)).item()  # fmt: skip

    assert min(grid, key=both) == pytest.approx(0.599, abs=2e-3)


def test_dice_of_an_empty_target_falls_smoothly_as_the_prediction_empties():
    steps = [dice_per_sample(*constant(p, 0.0)).item() for p in (0.5, 0.1, 0.0025, 1e-4, 1e-6)]
    assert steps == sorted(steps, reverse=True)
    assert steps[2] < 0.75  # with an epsilon of a thousandth of a pixel it is 0.9999
    assert steps[-1] < 0.01


def test_dice_matches_the_written_formula_for_a_real_target():
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(2, 1, 32, 32, generator=generator)
    target = (torch.rand(2, 1, 32, 32, generator=generator) > 0.5).float()
    p = logits.sigmoid()
    expected = 1 - 2 * (p * target).sum((1, 2, 3)) / (p.sum((1, 2, 3)) + target.sum((1, 2, 3)))
    got = dice_per_sample(logits, target, torch.ones_like(target))
    assert torch.allclose(got, expected, atol=1e-3)


def test_pixels_outside_the_photograph_count_nothing():
    logits, target = torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    valid = torch.ones(1, 1, 8, 8)
    valid[..., 4:] = 0
    spoiled = target.clone()
    spoiled[..., 4:] = 1
    for loss in (bce_per_sample, dice_per_sample):
        assert torch.equal(loss(logits, target, valid), loss(logits, spoiled, valid))
        assert torch.isfinite(loss(logits, target, torch.zeros_like(valid))).all()


def minimise(loss, p_unlabelled: torch.Tensor) -> torch.Tensor:
    """d of every cell at the minimum, when cells come up as often as the distributions say."""
    counts = [(p * 100).round().int() for p in (P_GOOD, p_unlabelled)]
    cells = torch.cat([torch.arange(CELLS).repeat_interleave(c) for c in counts])
    is_gold = torch.arange(len(cells)) < int(counts[0].sum())
    logits = torch.zeros(CELLS, dtype=torch.float64, requires_grad=True)
    for _ in range(1500):
        (gradient,) = torch.autograd.grad(loss(logits[cells], is_gold), logits)
        with torch.no_grad():
            logits -= 8.0 * gradient
    return logits.detach().sigmoid()


def test_the_mean_over_the_batch_shrinks_the_step_by_the_mean_weight_and_ours_does_not():
    losses = torch.tensor([[1.0, 2.0, 6.0]])
    for c in (1.0, 0.25):
        weights = torch.full((1, 3), c)
        assert (weights * losses).mean().item() == pytest.approx(c * 3.0)  # the official form
        assert (weighted_sum(losses, weights) / weights.sum()).item() == pytest.approx(3.0)


@pytest.mark.slow
@pytest.mark.parametrize("assumed", [0.4, 0.2])
def test_pu_is_least_where_d_is_the_probability_that_a_machine_label_is_good(assumed: float):
    p_unlabelled = 0.4 * P_GOOD + 0.6 * P_BAD
    d = minimise(lambda x, g: pu_loss(x, g, eta=assumed, non_negative=False), p_unlabelled)
    assert torch.allclose(d, assumed * P_GOOD / p_unlabelled, atol=1e-3)


def test_pu_with_a_share_of_zero_calls_every_machine_label_bad():
    d = minimise(lambda x, g: pu_loss(x, g, eta=0.0, non_negative=False), P_GOOD)
    assert bool((d < 1e-2).all())


def test_the_clamp_changes_nothing_at_the_minimum_of_the_right_share():
    p_unlabelled = 0.4 * P_GOOD + 0.6 * P_BAD
    d = minimise(lambda x, g: pu_loss(x, g, eta=0.4, non_negative=True), p_unlabelled)
    assert torch.allclose(d, 0.4 * P_GOOD / p_unlabelled, atol=1e-3)


def test_the_odds_are_the_density_ratio_in_a_batch_of_any_mix_as_each_side_counts_the_same():
    d = minimise(
        lambda x, g: plain_bce_loss(x, g), 3 * P_BAD
    )  # three machine samples for one of gold
    assert torch.allclose(d / (1 - d), P_GOOD / P_BAD, rtol=1e-2)


def test_plain_bce_is_least_at_the_posterior_and_its_odds_are_the_density_ratio():
    d = minimise(lambda x, g: plain_bce_loss(x, g), P_BAD)
    assert torch.allclose(d, P_GOOD / (P_GOOD + P_BAD), atol=1e-3)
    assert torch.allclose(d / (1 - d), P_GOOD / P_BAD, rtol=1e-2)


def test_the_clamp_stops_the_risk_of_the_bad_part_from_falling_below_zero():
    logits = torch.tensor([8.0, 8.0, -8.0, -8.0])
    is_gold = torch.tensor([True, True, False, False])
    free = pu_loss(logits, is_gold, eta=0.5, non_negative=False)
    held = pu_loss(logits, is_gold, eta=0.5, non_negative=True)
    assert free.item() < -3.9
    assert held.item() >= 0.0
