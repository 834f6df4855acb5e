"""STAPLE over patterns against a per-pixel EM in plain numpy and against SimpleITK."""

import numpy as np
import pytest

from annotators.staple import believe, staple, vote_patterns


def noisy_votes(k, *, shape=(40, 60), seed=0):
    """A disc seen by `k` experts of growing noise; returns the disc and the votes."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    disc = (y - shape[0] / 2) ** 2 + (x - shape[1] / 2) ** 2 < (shape[0] / 3) ** 2
    flips = [rng.random(shape) < 0.02 + 0.25 * i / k for i in range(k)]
    return disc, np.stack([disc ^ flip for flip in flips])


def naive_em(votes, iterations):
    """Warfield et al. 2004 pixel by pixel, as written: no patterns, no logarithms."""
    votes = votes.reshape(len(votes), -1).astype(np.float64)
    p = q = np.full(len(votes), 0.99)
    prior = votes.mean()
    for _ in range(iterations + 1):
        a = prior * np.prod(np.where(votes == 1, p[:, None], 1 - p[:, None]), axis=0)
        b = (1 - prior) * np.prod(np.where(votes == 1, 1 - q[:, None], q[:, None]), axis=0)
        w = a / (a + b)
        last = p, q
        p, q = (votes * w).sum(1) / w.sum(), ((1 - votes) * (1 - w)).sum(1) / (1 - w).sum()
    return w, *last


@pytest.mark.parametrize("k", [2, 3, 5, 8])
def test_patterns_give_what_a_per_pixel_em_gives(k):
    _, votes = noisy_votes(k, seed=k)
    found = staple(votes)
    w, p, q = naive_em(votes, found.iterations)
    assert np.abs(found.posterior.ravel() - w).max() <= 1e-9
    assert np.abs(found.sensitivity - p).max() <= 1e-9
    assert np.abs(found.specificity - q).max() <= 1e-9


def test_more_experts_than_a_dense_table_holds_give_the_same_as_plain_em():
    _, votes = noisy_votes(18, shape=(12, 14))
    found = staple(votes)
    w, _, _ = naive_em(votes, found.iterations)
    assert np.abs(found.posterior.ravel() - w).max() <= 1e-9


@pytest.mark.parametrize("k", [3, 5])
def test_it_agrees_with_simpleitk(k):
    sitk = pytest.importorskip("SimpleITK")
    _, votes = noisy_votes(k)
    itk = sitk.STAPLEImageFilter()
    itk.SetForegroundValue(1.0)
    itk.SetMaximumIterations(200)
    theirs = sitk.GetArrayFromImage(
        itk.Execute([sitk.GetImageFromArray(vote.astype(np.uint8)) for vote in votes])
    )
    ours = staple(votes)
    assert np.abs(ours.posterior - theirs).max() < 0.02
    assert np.abs(ours.sensitivity - itk.GetSensitivity()).max() < 0.01
    assert np.abs(ours.specificity - itk.GetSpecificity()).max() < 0.01


def test_it_recovers_the_disc_and_ranks_the_experts():
    disc, votes = noisy_votes(5)
    found = staple(votes)
    assert found.converged
    assert ((found.posterior >= 0.5) == disc).mean() > 0.985
    assert found.sensitivity[0] > found.sensitivity[-1]
    assert found.specificity[0] > found.specificity[-1]


def test_the_band_keeps_what_all_agree_on():
    _, votes = noisy_votes(4)
    found = staple(votes, band=True)
    assert (found.posterior[votes.all(axis=0)] == 1).all()
    assert (found.posterior[~votes.any(axis=0)] == 0).all()


def test_without_disagreement_the_band_is_empty_and_the_votes_are_believed():
    votes = np.zeros((3, 4, 5), bool)
    votes[:, 1:3] = True
    found = staple(votes, band=True)
    assert found.iterations == 0
    assert found.converged
    assert (found.posterior == votes[0]).all()
    assert found.prior == 0.5


@pytest.mark.parametrize("value", [False, True])
def test_uniform_votes_stay_finite(value):
    found = staple(np.full((3, 4, 4), value))
    assert np.isfinite(found.posterior).all()
    assert ((found.posterior >= 0.5) == value).all()


def test_patterns_count_every_pixel_once():
    votes = np.array([[[1, 0, 1]], [[1, 0, 0]]], bool)
    said, counts, which = vote_patterns(votes)
    assert counts.sum() == 3
    assert (said[which].T.reshape(votes.shape) == votes).all()


@pytest.mark.parametrize("shape", [(4, 4), (0, 4, 4)])
def test_votes_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match="expected \\(k, h, w\\)"):
        staple(np.zeros(shape, bool))


def test_a_start_at_certainty_is_refused():
    with pytest.raises(ValueError, match="inside \\(0, 1\\)"):
        staple(np.zeros((2, 3, 3), bool), start=np.array([1.0, 0.5]))


def test_known_rates_give_bayes_posterior():
    votes = np.array([[[1, 1, 0, 0]], [[1, 0, 1, 0]]], bool)
    p, q = np.array([0.9, 0.6]), np.array([0.8, 0.7])
    found = believe(votes, sensitivity=p, specificity=q, prior=0.3)[0]
    for n, (a, b) in enumerate([(1, 1), (1, 0), (0, 1), (0, 0)]):
        true = 0.3 * (p[0] if a else 1 - p[0]) * (p[1] if b else 1 - p[1])
        false = 0.7 * ((1 - q[0]) if a else q[0]) * ((1 - q[1]) if b else q[1])
        assert found[n] == pytest.approx(true / (true + false), abs=1e-12)


def test_with_known_rates_the_prior_in_the_band_is_that_of_the_disputed_pixels():
    votes = np.zeros((3, 10, 10), bool)
    votes[:2, 0, 0], votes[:, 5, 5] = True, True
    rates = {"sensitivity": np.full(3, 0.6), "specificity": np.full(3, 0.6)}
    found = believe(votes, band=True, **rates)
    assert (found[5, 5], found[9, 9]) == (1.0, 0.0)
    assert found[0, 0] == pytest.approx(believe(votes, prior=2 / 3, **rates)[0, 0])
    assert believe(votes[:, 1:5], band=True, **rates).max() == 0.0


@pytest.mark.parametrize("rates", [np.array([0.5]), np.array([0.5, 1.5])])
def test_rates_that_are_none_are_refused(rates):
    with pytest.raises(ValueError, match="expected 2 numbers in"):
        believe(np.zeros((2, 3, 3), bool), sensitivity=rates, specificity=np.array([0.5, 0.5]))
