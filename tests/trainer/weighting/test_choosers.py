"""The methods that choose by losses, against what can be worked out by hand."""

import numpy as np
import pytest
import torch

from trainer.smallest import kept_share, smallest
from trainer.weighting.co_teaching import CoTeaching
from trainer.weighting.gmm_split import GmmSplit, clean_chance
from trainer.weighting.protocol import Context
from trainer.weighting.self_paced import SelfPaced
from trainer.weighting.small_loss import SmallLoss

GOLD = [True, False, False, False, False, False]


def context(
    *, progress: float, gold: list[bool] = GOLD, disagree: list[bool] | None = None, first: int = 0
) -> Context:
    b = len(gold)
    return Context(
        p_clean=torch.ones(b),
        weight=torch.ones(b),
        is_gold=torch.tensor(gold),
        rows=torch.arange(first, first + b),
        disagree=torch.tensor(disagree or [True] * b),
        progress=progress,
    )


def test_the_share_kept_falls_from_one_to_what_is_clean_over_the_warm_up():
    shares = [kept_share(p, noise_rate=0.4, warmup=0.2) for p in (0.0, 0.05, 0.1, 0.2, 0.9)]
    assert shares == pytest.approx([1.0, 0.9, 0.8, 0.6, 0.6])
    assert kept_share(0.0, noise_rate=0.4, warmup=0.0) == pytest.approx(0.6)


def test_the_smallest_are_counted_upwards_and_ties_go_to_the_first():
    losses = torch.tensor([[3.0, 1.0, 1.0, 2.0, 0.0]])
    among = torch.tensor([True, True, True, True, False])
    for share, kept in [(0.0, []), (0.25, [1]), (0.26, [1, 2]), (0.75, [1, 2, 3]), (1.0, [0, 1, 2, 3])]:  # fmt: skip
        assert smallest(losses, among=among, share=share)[0].nonzero()[:, 0].tolist() == kept
    assert not smallest(losses, among=torch.zeros(5, dtype=torch.bool), share=1.0).any()
    spoiled, all_three = torch.tensor([[torch.nan, 1.0, 2.0]]), torch.ones(3, dtype=torch.bool)
    assert smallest(spoiled, among=all_three, share=0.6).tolist() == [[False, True, True]]


def test_small_loss_keeps_gold_whatever_it_loses_and_the_easy_half_of_the_machines_labels():
    weigher = SmallLoss(noise_rate=0.4, warmup=0.1, gold_weight=2.0)
    losses = torch.tensor([[9.0, 5.0, 1.0, 4.0, 2.0, 3.0]])
    assert weigher(losses, context(progress=0.0)).tolist() == [[2, 1, 1, 1, 1, 1]]
    assert weigher(losses, context(progress=0.5)).tolist() == [[2, 0, 1, 0, 1, 1]]


def test_co_teaching_swaps_the_peers():
    losses = torch.tensor([[9.0, 1.0, 2.0, 3.0, 4.0, 5.0], [9.0, 5.0, 4.0, 3.0, 2.0, 1.0]])
    weights = CoTeaching(noise_rate=0.6, warmup=0.0)(losses, context(progress=0.5))
    assert weights.tolist() == [[1, 0, 0, 0, 1, 1], [1, 1, 1, 0, 0, 0]]


def test_co_teaching_plus_chooses_where_the_peers_disagree_once_the_warm_up_is_over():
    losses = torch.tensor([[9.0, 1.0, 2.0, 3.0, 4.0, 5.0]] * 2)
    plus = CoTeaching(noise_rate=0.5, warmup=0.2, plus=True)
    odd = [True, False, False, True, True, False]
    early = plus(losses, context(progress=0.0, disagree=odd))
    assert early.tolist() == [[1, 1, 1, 1, 1, 1]] * 2
    late = plus(losses, context(progress=0.5, disagree=odd))
    assert late.tolist() == [[1, 0, 0, 1, 0, 0]] * 2
    alone = plus(losses, context(progress=0.5, disagree=[True] + [False] * 5))
    assert alone.tolist() == [[1, 0, 0, 0, 0, 0]] * 2  # gold teaches


def test_self_paced_admits_a_share_that_grows_to_all():
    generator = torch.Generator().manual_seed(0)
    weigher = SelfPaced(start=0.5, end=1.0)
    shares = []
    for progress in torch.linspace(0, 0.999, 400).tolist():
        losses = torch.rand(1, 24, generator=generator)
        machine = [False] * 24
        shares.append(weigher(losses, context(progress=progress, gold=machine)).mean().item())
    assert sum(shares[:40]) / 40 == pytest.approx(0.52, abs=0.06)
    assert sum(shares[180:220]) / 40 == pytest.approx(0.75, abs=0.06)
    assert sum(shares[-20:]) / 20 == pytest.approx(1.0, abs=0.06)


def test_self_paced_remembers_so_that_a_batch_of_hard_samples_is_left_out_whole():
    weigher = SelfPaced(start=0.5, end=0.5)
    for _ in range(50):
        weigher(torch.tensor([[9.0, 1.0, 1.2, 1.4, 1.6, 1.8]]), context(progress=0.5))
    assert weigher.recent.nanquantile(0.5).item() == pytest.approx(1.4)  # gold's 9 is not in it
    hard = weigher(torch.full((1, 6), 3.0), context(progress=0.5))
    assert hard.tolist() == [[1, 0, 0, 0, 0, 0]]
    before = weigher.recent.nanquantile(0.5)
    weigher(torch.rand(1, 2), context(progress=0.5, gold=[True, True]))
    assert torch.equal(weigher.recent.nanquantile(0.5), before)
    nothing = SelfPaced(start=0.5, end=0.5)(
        torch.rand(1, 2), context(progress=0.5, gold=[True, True])
    )
    assert nothing.tolist() == [[1, 1]]


def test_two_kinds_of_losses_are_told_apart_and_no_larger_loss_is_cleaner():
    rng = np.random.default_rng(0)
    easy, hard = rng.normal(0.4, 0.1, 300), rng.normal(1.6, 0.3, 200)
    losses = np.concatenate([easy, hard])
    chance = clean_chance(losses)
    assert ((chance > 0.5) == (np.arange(500) < 300)).mean() > 0.97
    assert (np.diff(chance[np.argsort(losses)]) <= 1e-12).all()
    assert ((chance >= 0) & (chance <= 1)).all()
    assert (clean_chance(losses) == chance).all()
    assert np.isfinite(clean_chance(np.array([1.0] * 7 + [2.0]))).all()


def test_the_mixture_is_of_remembered_machine_losses_and_counts_from_its_first_fit_on():
    n, steps = 40, 100
    weigher = GmmSplit(samples=n, steps=steps, warmup=0.2, every=10)
    gold = [True] * 8 + [False] * 32
    generator = torch.Generator().manual_seed(0)
    base = torch.cat([torch.full((24,), 0.3), torch.full((16,), 1.5)])  # rows 24.. are hard
    weights = torch.zeros(1, n)
    for step in range(steps):
        losses = (base + 0.05 * torch.randn(n, generator=generator))[None]
        weights = weigher(losses, context(progress=step / steps, gold=gold))
        if step < 20:
            assert bool((weights == 1).all())
    assert bool((weights[0, :24] > 0.95).all())
    assert bool((weights[0, 24:] < 0.05).all())
    assert bool(weigher.losses[:8].isnan().all())
    fresh = GmmSplit(samples=n, steps=steps, warmup=0.2, every=10)
    fresh.load_state_dict(weigher.state_dict())
    again = fresh(base[None], context(progress=0.995, gold=gold))
    assert torch.equal(again, weigher(base[None], context(progress=0.995, gold=gold)))


def test_a_loss_that_is_no_number_is_not_remembered():
    weigher = GmmSplit(samples=6, steps=10, warmup=0.5, every=1)
    weigher(torch.ones(1, 6), context(progress=0.0))
    spoiled = torch.tensor([[1.0, torch.nan, torch.inf, 3.0, 3.0, 3.0]])
    weigher(spoiled, context(progress=0.1))
    assert weigher.losses.tolist()[1:] == [1, 1, 2, 2, 2]
