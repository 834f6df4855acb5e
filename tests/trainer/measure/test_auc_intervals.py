"""Intervals of AUCs against scikit-learn's numbers, and what photographs do to them."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from trainer.measure.auc_intervals import Interval, auc_interval, weighted_aucs

RNG = np.random.default_rng(0)
RIGHT = RNG.random(200) < 0.4
SCORES = (RNG.normal(size=200) + RIGHT).round(1)
IMAGES = [str(i // 4) for i in range(200)]


def test_a_label_counts_as_often_as_its_weight():
    weights = RNG.integers(0, 4, (5, 200))
    wanted = [roc_auc_score(np.repeat(RIGHT, often), np.repeat(SCORES, often)) for often in weights]
    assert weighted_aucs(RIGHT, SCORES, weights.astype(float)) == pytest.approx(wanted)


def test_the_interval_is_about_the_value_and_the_same_each_time():
    found = auc_interval(RIGHT, SCORES, IMAGES)
    assert found.value == pytest.approx(roc_auc_score(RIGHT, SCORES))
    assert found.low < found.value < found.high
    assert found.high - found.low < 0.25
    assert found == auc_interval(RIGHT, SCORES, IMAGES)
    wide = auc_interval(RIGHT, SCORES, IMAGES, confidence=0.99)
    assert wide.low < found.low
    assert wide.high > found.high


def test_the_same_label_many_times_makes_nothing_surer():
    """What a bootstrap over labels would get wrong: ten copies of a photograph's label are one photograph."""
    once = auc_interval(RIGHT, SCORES, [str(i) for i in range(200)])
    often = auc_interval(
        np.repeat(RIGHT, 10), np.repeat(SCORES, 10), [str(i) for i in np.repeat(range(200), 10)]
    )
    assert often.value == pytest.approx(once.value)
    assert often.high - often.low == pytest.approx(once.high - once.low, rel=0.1)
    alone = auc_interval(np.repeat(RIGHT, 10), np.repeat(SCORES, 10), [str(i) for i in range(2000)])
    assert alone.high - alone.low < 0.5 * (once.high - once.low)


def test_scores_that_differ_in_their_last_bits_are_equal():
    tied = 0.3 + np.where(RIGHT, 1e-9, 0.0)
    assert auc_interval(RIGHT, tied, IMAGES) == Interval(value=0.5, low=0.5, high=0.5)


def test_without_both_kinds_there_is_no_number():
    none = Interval(value=None, low=None, high=None)
    assert auc_interval(np.ones(4, bool), np.arange(4.0), list("abcd")) == none
    assert auc_interval(np.ones(0, bool), np.zeros(0), []) == none
