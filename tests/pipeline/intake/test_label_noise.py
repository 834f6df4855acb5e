"""Noise in known shares."""

from collections import Counter

import numpy as np
import pytest

from annotators.masks import encode_mask
from pipeline.intake.label_noise import SHARES, TOTAL, Noise, noisy_candidate, pick_noise, spoil

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


def test_a_noisy_candidate_is_the_truth_or_another_thing_and_repeats_itself():
    truth = np.zeros((20, 30), bool)
    truth[4:9, 5:12] = True
    other = np.zeros_like(truth)
    other[12:18, 15:25] = True
    told = [
        noisy_candidate(truth, lambda: [other], Noise(rate=0.5), key=f"k{i}", model="m")
        for i in range(200)
    ]
    again = [
        noisy_candidate(truth, lambda: [other], Noise(rate=0.5), key=f"k{i}", model="m")
        for i in range(200)
    ]
    assert told == again
    right = [c.mask == encode_mask(truth) for kind, c in told if kind == "none"]
    assert all(right)
    assert 70 < len(right) < 130
    assert all(c.mask == encode_mask(other) for kind, c in told if kind == "wrong-class")
    assert {c.mask_score for _, c in told} == {0.5}


def test_where_nothing_is_meant_every_spoiled_answer_is_another_thing():
    nothing = np.zeros((20, 30), bool)
    other = np.zeros_like(nothing)
    other[12:18, 15:25] = True
    told = [
        noisy_candidate(nothing, lambda: [other], Noise(rate=0.9), key=f"k{i}", model="m")
        for i in range(50)
    ]
    assert {kind for kind, _ in told} == {"none", "wrong-class"}
    assert all(
        c.mask == encode_mask(other if kind == "wrong-class" else nothing) for kind, c in told
    )
