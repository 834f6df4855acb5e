"""Open-vocabulary score fusion against three lines of the formula, and what it must be at its ends."""

import numpy as np
import pytest

from annotators.score_fusion import ALPHA, BETA, TEMPERATURE, fuse_scores, softmax

BASE = np.array([True, False, True, False])


def drawn(n=50, c=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(c + 1), n), rng.dirichlet(np.ones(c), n)


def reference(p, z, base, alpha, beta):
    """One region, class by class."""
    share = [alpha if known else beta for known in base]
    s = [p[i] ** (1 - share[i]) * z[i] ** share[i] for i in range(len(z))]
    s.append(p[-1])
    return np.array(s) / sum(s)


@pytest.mark.parametrize(("alpha", "beta"), [(ALPHA, BETA), (0.0, 0.65), (1.0, 0.3), (0.5, 0.5)])
def test_it_is_the_formula(alpha, beta):
    p, z = drawn()
    fused = fuse_scores(p, z, base=BASE, alpha=alpha, beta=beta)
    assert fused.shape == p.shape
    for row in range(len(p)):
        assert fused[row] == pytest.approx(reference(p[row], z[row], BASE, alpha, beta), abs=1e-12)
    assert fused.sum(axis=1) == pytest.approx(np.ones(len(p)))


def test_the_published_values_of_its_siblings_are_the_defaults():
    assert (ALPHA, BETA, TEMPERATURE) == (0.35, 0.65, 0.01)
    p, z = drawn(3)
    assert (
        fuse_scores(p, z, base=BASE) == fuse_scores(p, z, base=BASE, alpha=0.35, beta=0.65)
    ).all()


def test_without_the_encoder_it_is_the_detector():
    p, z = drawn()
    p[0], z[0] = [0.7, 0.0, 0.0, 0.0, 0.3], [0.0, 1.0, 0.0, 0.0]
    assert fuse_scores(p, z, base=BASE, alpha=0.0, beta=0.0) == pytest.approx(p, abs=1e-12)


def test_with_the_encoder_alone_it_is_the_encoder_except_for_the_background():
    p, z = drawn()
    p[0] = [0.6, 0.0, 0.0, 0.0, 0.4]
    fused = fuse_scores(p, z, base=BASE, alpha=1.0, beta=1.0)
    background = p[:, -1:]
    assert fused[:, :-1] == pytest.approx(z / (1.0 + background), abs=1e-12)
    assert fused[:, -1:] == pytest.approx(background / (1.0 + background), abs=1e-12)


def test_the_encoder_has_no_say_in_the_background_before_the_row_is_divided():
    p, z = drawn()
    other = drawn(seed=1)[1]
    for scores in (z, other):
        fused = fuse_scores(p, scores, base=BASE)
        share = np.where(BASE, ALPHA, BETA)
        total = (p[:, :-1] ** (1 - share) * scores**share).sum(axis=1) + p[:, -1]
        assert fused[:, -1] * total == pytest.approx(p[:, -1], abs=1e-12)


@pytest.mark.parametrize("which", range(4))
def test_more_from_either_is_more_of_that_class(which):
    """Of the detector at the cost of the background, of the encoder at the cost of another class."""
    steps = np.linspace(0.01, 0.6, 20)
    p, z = np.full((20, 5), 0.1), np.full((20, 4), 0.1)
    p[:, which], p[:, -1] = steps, 0.7 - steps
    z[:, which], z[:, (which + 1) % 4] = steps, 0.8 - steps
    flat_p, flat_z = np.tile(p[5], (20, 1)), np.tile(z[5], (20, 1))
    assert (np.diff(fuse_scores(p, flat_z, base=BASE)[:, which]) > 0).all()
    assert (np.diff(fuse_scores(flat_p, z, base=BASE)[:, which]) > 0).all()


def test_a_region_that_nothing_speaks_for_is_background():
    fused = fuse_scores(np.array([[1.0, 0.0, 0.0]]), np.array([[0.0, 1.0]]), base=BASE[:2])
    assert fused.tolist() == [[0.0, 0.0, 1.0]]


def test_objectness_ranks_regions_and_leaves_each_rows_proportions():
    p, z = drawn(6)
    things = np.linspace(0.0, 1.0, 6)
    plain = fuse_scores(p, z, base=BASE)
    ranked = fuse_scores(p, z, base=BASE, objectness=things, objectness_power=3.0)
    assert ranked == pytest.approx(plain * things[:, None] ** 3)
    assert fuse_scores(p, z, base=BASE, objectness=things, objectness_power=0.0) == pytest.approx(
        plain
    )


def test_cosines_become_probabilities_as_hard_as_the_temperature_is_small():
    cosines = np.array([[0.30, 0.28, -1.0], [1.0, -1.0, 0.0]])
    for temperature in (1.0, 0.1, TEMPERATURE):
        raised = np.exp(cosines / temperature)
        wanted = raised / raised.sum(axis=1, keepdims=True)
        assert softmax(cosines, temperature=temperature) == pytest.approx(wanted)
    assert softmax(cosines, temperature=1e-4)[0].tolist() == pytest.approx([1.0, 0.0, 0.0])
    assert softmax(np.zeros((2, 0, 3)), temperature=1.0).shape == (2, 0, 3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"detector": np.ones((2, 4)) / 4}, r"expected \(n, c \+ 1\), \(n, c\) and \(c,\)"),
        ({"base": np.ones(3, bool)}, r"base \(3,\)"),
        ({"detector": np.full((2, 5), 0.1)}, "do not sum to 1"),
        ({"encoder": np.full((2, 4), np.nan)}, "encoder has probabilities outside"),
        ({"alpha": 1.1}, r"alpha is 1.1; expected a number in \[0, 1\]"),
        ({"beta": float("nan")}, "beta is nan"),
        ({"objectness": np.array([0.5])}, r"expected \(2,\) numbers"),
        ({"objectness": np.array([0.5, 2.0])}, r"numbers in \[0, 1\]"),
        ({"objectness": np.ones(2), "objectness_power": -1.0}, "expected 0 or more"),
    ],
)
def test_what_is_no_distribution_is_refused(change, words):
    p, z = drawn(2)
    given = {"detector": p, "encoder": z, "base": BASE, **change}
    with pytest.raises(ValueError, match=words):
        fuse_scores(given.pop("detector"), given.pop("encoder"), **given)


def test_a_temperature_of_nothing_is_refused():
    for temperature in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="expected a number above 0"):
            softmax(np.zeros((1, 2)), temperature=temperature)
