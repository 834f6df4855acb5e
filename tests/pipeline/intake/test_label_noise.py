"""Noise in known shares."""

from collections import Counter

import numpy as np
import pytest

from pipeline.intake.label_noise import SHARES, TOTAL, pick_noise, spoil

TRUTH = np.zeros((40, 60), bool)
TRUTH[10:20, 15:30] = True
TRUTH[10, 15] = False


def test_shares_add_up_and_scale_with_the_rate():
    assert sum(share for _, share in SHARES) == pytest.approx(TOTAL)
    generator = np.random.default_rng(0)
    for rate in (0.0, 0.2, 0.49, 0.7, 1.0):
        counts = Counter(pick_noise(rate, generator) for _ in range(8000))
        assert counts["none"] / 8000 == pytest.approx(1 - rate, abs=0.02)
        for name, share in SHARES:
            assert counts[name] / 8000 == pytest.approx(share * rate / TOTAL, abs=0.02)


def test_every_kind_does_what_its_name_says():
    generator = np.random.default_rng(0)
    other = ~TRUTH
    assert (spoil("none", TRUTH, [other], generator) == TRUTH).all()
    assert (spoil("wrong-class", TRUTH, [other], generator) == other).all()
    assert not spoil("empty", TRUTH, [other], generator).any()
    assert spoil("full", TRUTH, [other], generator).all()
    box = spoil("box", TRUTH, [other], generator)
    assert box.sum() == 150
    assert box[10, 15]
    shifted = spoil("shift", TRUTH, [other], generator)
    assert 0 < shifted.sum() <= TRUTH.sum()
    assert (shifted & TRUTH).sum() < 0.5 * TRUTH.sum()


def test_a_shift_never_leaves_nothing_and_a_lonely_class_is_mistaken_for_the_rest():
    corner = np.zeros((40, 60), bool)
    corner[0, 0] = True
    for seed in range(20):
        assert spoil("shift", corner, [], np.random.default_rng(seed)).sum() == 1
    assert (spoil("wrong-class", TRUTH, [], np.random.default_rng(0)) == ~TRUTH).all()
