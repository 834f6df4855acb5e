"""EM over a dataset's vote patterns against the same EM pixel by pixel, against STAPLE and what was planted."""

import numpy as np
import pytest

from annotators.rates import Rates
from annotators.reliability import VoteTally, learn, learn_by_style
from annotators.staple import believe, staple
from annotators.votes import Vote

SIZE = (24, 30)


def vote(voter, mask):
    return Vote(expert=voter, voter=voter, members=(0,), mask=mask, score=0.5, stability=0.5)


def planted(rates, *, samples, seed=0, abstain=0.0, size=SIZE, share=0.3):
    """(truth, votes) per sample by experts that err independently at known `rates` {voter: (sens, spec)}."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(samples):
        truth = rng.random(size) < share
        votes = [
            vote(name, np.where(truth, rng.random(size) < p, rng.random(size) >= q))
            for name, (p, q) in rates.items()
            if rng.random() >= abstain
        ]
        made.append((truth, votes))
    return made


def tallied(made, *, style="", **options):
    tally = VoteTally(**options)
    for _, votes in made:
        tally.add(votes, style=style)
    return tally


def naive(made, voters, iterations, *, even):
    """The same EM with a row per pixel and a NaN for who abstained: no patterns, no matrices of groups."""
    rows, weight, group = [], [], []
    for truth, votes in made:
        said = {v.voter: v.mask.ravel().astype(float) for v in votes}
        if not said:
            continue
        blank = np.full(truth.size, np.nan)
        rows.append(np.stack([said.get(name, blank) for name in voters]))
        weight.append(np.full(truth.size, 1 / truth.size if even else 1.0))
        group += [tuple(sorted(said))] * truth.size
    x, w = np.concatenate(rows, axis=1), np.concatenate(weight)
    names = sorted(set(group))
    which = np.array([names.index(g) for g in group])
    share = np.nanmean(x, axis=0)
    prior = np.array(
        [np.average(share[which == n], weights=w[which == n]) for n in range(len(names))]
    )[which]
    p, q = np.full(len(voters), 0.9), np.full(len(voters), 0.9)
    heard = ~np.isnan(x)
    for _ in range(iterations):
        a = prior * np.prod(
            np.where(heard, np.where(x == 1, p[:, None], 1 - p[:, None]), 1), axis=0
        )
        b = (1 - prior) * np.prod(
            np.where(heard, np.where(x == 1, 1 - q[:, None], q[:, None]), 1), axis=0
        )
        t = a / (a + b)
        p = (w * t * (x == 1)).sum(1) / (w * t * heard).sum(1)
        q = (w * (1 - t) * (x == 0)).sum(1) / (w * (1 - t) * heard).sum(1)
    return p, q


@pytest.mark.parametrize("even", [True, False])
@pytest.mark.parametrize("abstain", [0.0, 0.35])
def test_patterns_give_what_an_em_over_all_pixels_gives(even, abstain):
    made = planted({"a": (0.9, 0.9), "b": (0.7, 0.95), "c": (0.6, 0.7), "d": (0.8, 0.6)}, samples=7,
                   abstain=abstain, seed=3)  # fmt: skip
    tally = tallied(made, even=even)
    found = learn(tally.everywhere())
    p, q = naive(made, tally.voters, found.iterations, even=even)
    assert len(tally.voters) == 4
    assert max(abs(found.rates[v].sensitivity - p[n]) for n, v in enumerate(tally.voters)) <= 1e-9
    assert max(abs(found.rates[v].specificity - q[n]) for n, v in enumerate(tally.voters)) <= 1e-9


def test_an_odd_sized_sample_weighs_as_much_as_any_other():
    small = planted({"a": (0.9, 0.9), "b": (0.8, 0.8), "c": (0.7, 0.9)}, samples=2, size=(9, 11))
    large = planted({"a": (0.6, 0.9), "b": (0.8, 0.8), "c": (0.7, 0.9)}, samples=2, size=(40, 50))
    tally = tallied([*small, *large])
    assert sum(sum(mine.values()) for mine in tally.everywhere().values()) == pytest.approx(4.0)


@pytest.mark.parametrize("abstain", [0.0, 0.3])
def test_planted_rates_are_found_without_the_truth(abstain):
    """Within 0.03 on 40 samples of 720 pixels; the prior is the mean vote and so a little off, as in STAPLE."""
    rates = {"a": (0.9, 0.95), "b": (0.8, 0.9), "c": (0.7, 0.9), "weak": (0.55, 0.6)}
    found = learn(tallied(planted(rates, samples=40, abstain=abstain)).everywhere(), prior=0.3)
    assert found.converged
    for name, (p, q) in rates.items():
        assert found.rates[name].sensitivity == pytest.approx(p, abs=0.03)
        assert found.rates[name].specificity == pytest.approx(q, abs=0.03)


def test_with_the_mean_vote_for_a_prior_the_order_of_experts_is_right():
    rates = {"a": (0.9, 0.95), "b": (0.8, 0.9), "c": (0.7, 0.9), "weak": (0.55, 0.6)}
    found = learn(tallied(planted(rates, samples=40)).everywhere()).rates
    informed = [found[name].sensitivity + found[name].specificity for name in rates]
    assert informed == sorted(informed, reverse=True)
    assert informed[-1] < 1.3


def test_two_samples_give_what_staple_and_simpleitk_give_on_both_side_by_side():
    sitk = pytest.importorskip("SimpleITK")
    made = planted({"a": (0.95, 0.97), "b": (0.85, 0.9), "c": (0.75, 0.92)}, samples=2, seed=5)
    found = learn(tallied(made, even=False).everywhere())
    both = np.stack(
        [np.concatenate([votes[k].mask for _, votes in made], axis=1) for k in range(3)]
    )
    ours = staple(both)
    itk = sitk.STAPLEImageFilter()
    itk.SetForegroundValue(1.0)
    itk.SetMaximumIterations(500)
    itk.Execute([sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in both])
    for n, name in enumerate("abc"):
        assert found.rates[name].sensitivity == pytest.approx(ours.sensitivity[n], abs=1e-5)
        assert found.rates[name].specificity == pytest.approx(ours.specificity[n], abs=1e-5)
        assert found.rates[name].sensitivity == pytest.approx(itk.GetSensitivity()[n], abs=0.01)
        assert found.rates[name].specificity == pytest.approx(itk.GetSpecificity()[n], abs=0.01)
    posterior = believe(both, sensitivity=ours.sensitivity, specificity=ours.specificity)
    assert np.abs(posterior - ours.posterior).max() <= 1e-9


def test_the_band_counts_only_what_is_disputed():
    masks = np.zeros((2, *SIZE), bool)
    masks[0, :6], masks[1, 3:9] = True, True
    tally = VoteTally(even=False, band=True)
    tally.add([vote("a", masks[0]), vote("b", masks[1])], style="")
    assert tally.patterns[""] == {("a", "b"): {0b01: 90.0, 0b10: 90.0}}
    alone = VoteTally(band=True)
    alone.add([vote("a", masks[0])], style="")
    assert alone.everywhere() == {}
    assert alone.spoke[""] == {"a": 1}


def test_a_style_with_few_samples_leans_on_all_and_one_with_many_stands_by_itself():
    good = {"a": (0.95, 0.95), "b": (0.8, 0.9), "c": (0.8, 0.9)}
    swapped = {"a": (0.55, 0.6), "b": (0.8, 0.9), "c": (0.8, 0.9)}
    tally = tallied(planted(good, samples=60), style="many")
    for _, votes in planted(swapped, samples=2, seed=9):
        tally.add(votes, style="few")
    overall, styles = learn_by_style(tally, shrink=10.0)
    _, free = learn_by_style(tally, shrink=0.0)
    total = overall.rates["a"].sensitivity
    assert abs(styles["many"].rates["a"].sensitivity - 0.95) < 0.03
    assert free["few"].rates["a"].sensitivity < styles["few"].rates["a"].sensitivity < total


def test_who_never_spoke_in_a_style_has_its_overall_rates_there():
    tally = tallied(planted({"a": (0.9, 0.9), "b": (0.8, 0.9), "c": (0.8, 0.8)}, samples=4))
    for _, votes in planted({"a": (0.9, 0.9), "b": (0.8, 0.9)}, samples=4):
        tally.add(votes, style="other")
    tally.add([], style="silent")
    overall, styles = learn_by_style(tally)
    assert styles["other"].rates["c"] == overall.rates["c"]
    assert styles["silent"].rates == overall.rates
    assert tally.samples == {"": 4, "other": 4, "silent": 1}


def test_the_order_of_samples_does_not_matter():
    made = planted({"a": (0.9, 0.9), "b": (0.8, 0.9), "c": (0.8, 0.8)}, samples=6, abstain=0.2)
    there, back = (learn(tallied(m).everywhere()).rates for m in (made, made[::-1]))
    for name in there:
        assert there[name].sensitivity == pytest.approx(back[name].sensitivity, abs=1e-9)


def test_nothing_to_learn_from_is_said():
    with pytest.raises(ValueError, match="no votes to learn from"):
        learn({})


def test_certain_rates_stay_finite():
    made = planted({"a": (1.0, 1.0), "b": (1.0, 1.0), "c": (1.0, 1.0)}, samples=2)
    found = learn(tallied(made).everywhere()).rates
    assert found["a"] == Rates(sensitivity=1.0, specificity=1.0)
