"""A score as a probability, on scores whose truth was drawn."""

import numpy as np
import pytest

from annotators.calibration import (
    Calibration,
    calibrated,
    calibration_error,
    deal_folds,
    essence,
    fit_knots,
    out_of_fold,
    read_calibration,
    read_off,
    reliability_bins,
)
from annotators.label import Quality

RNG = np.random.default_rng(0)
SCORES = RNG.random(2000)
RIGHT = RNG.random(2000) < SCORES**3
"""An over-confident score: 0.5 is right one time in eight."""
TABLE = {
    "kind": "calibration",
    "right": [[0.2, 0.0], [0.8, 0.5]],
    "iou": [[0.0, 0.1], [1.0, 0.6]],
    "rules": ["agreement"],
    "n": 99,
}


@pytest.mark.slow  # importing scikit-learn takes a second
def test_knots_rise_and_follow_the_truth():
    knots = fit_knots(SCORES, RIGHT.astype(float))
    flat = np.array(knots)
    assert (np.diff(flat, axis=0) >= 0).all()
    for score in (0.2, 0.5, 0.8):
        assert read_off(knots, score) == pytest.approx(score**3, abs=0.08)


def test_outside_the_knots_the_ends_hold():
    knots = ((0.3, 0.1), (0.6, 0.7))
    assert (read_off(knots, 0.0), read_off(knots, 1.0)) == (0.1, 0.7)
    assert read_off(((0.5, 0.4),), 0.9) == 0.4


@pytest.mark.slow  # importing scikit-learn takes a second
def test_out_of_fold_the_error_falls_and_each_fold_is_judged_by_the_others():
    fold = deal_folds([str(n) for n in range(2000)], folds=5)
    found = out_of_fold(SCORES, RIGHT.astype(float), fold)
    before = calibration_error(reliability_bins(SCORES, RIGHT))
    after = calibration_error(reliability_bins(found, RIGHT))
    assert before > 0.15
    assert after < 0.04
    turned = RIGHT.copy()
    turned[fold == 0] = ~turned[fold == 0]
    again = out_of_fold(SCORES, turned.astype(float), fold)
    assert (again[fold == 0] == found[fold == 0]).all()
    assert (again[fold == 1] != found[fold == 1]).any()


def test_bins_count_every_sample_once_and_a_full_score_too():
    bins = reliability_bins(np.array([0.0, 0.05, 0.5, 1.0]), np.array([False, True, True, True]))
    assert [(b.lo, b.n, b.share) for b in bins] == [(0.0, 2, 0.5), (0.5, 1, 1.0), (0.9, 1, 1.0)]
    assert calibration_error(bins) == pytest.approx((2 * abs(0.025 - 0.5) + 0.5 + 0.0) / 4)


def test_equal_images_share_a_fold_and_folds_are_even():
    keys = [f"image-{n // 3}" for n in range(60)]
    fold = deal_folds(keys, folds=5)
    assert all(len(set(fold[n * 3 : n * 3 + 3].tolist())) == 1 for n in range(20))
    assert np.bincount(fold).tolist() == [12] * 5


def test_a_quality_keeps_its_raw_score_and_says_what_to_expect():
    learnt = read_calibration(TABLE)
    found = calibrated(Quality(score=0.5, parts=(("fit", 0.9),), rule="agreement"), learnt)
    assert found.score == pytest.approx(0.25)
    assert dict(found.parts) == pytest.approx({"fit": 0.9, "raw": 0.5, "iou": 0.35})
    assert found.rule == "agreement+isotonic"


def test_a_score_by_another_rule_is_refused():
    quality = Quality(score=0.5, parts=(), rule="agreement+verifier")
    with pytest.raises(ValueError, match="learnt from scores by agreement; this one is by 'agreem"):
        calibrated(quality, read_calibration(TABLE))


def test_what_a_recipe_holds_is_the_essence_of_the_file_and_of_itself():
    kept = essence(TABLE)
    assert set(kept) == {"kind", "right", "iou", "rules"}
    assert essence(kept) == kept
    assert read_calibration(kept) == Calibration(
        right=((0.2, 0.0), (0.8, 0.5)), iou=((0.0, 0.1), (1.0, 0.6)), rules=("agreement",)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "reliability"}, "of kind 'reliability'; expected sidecars/calibration.json"),
        ({"right": []}, "rising"),
        ({"right": [[0.5, 0.9], [0.6, 0.2]]}, "rising"),
        ({"iou": [[0.5, 1.9]]}, "in \\[0, 1\\]"),
        ({"iou": None}, "no table of `maskmix calibrate`"),
    ],
)
def test_a_table_that_is_none_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        read_calibration({**TABLE, **change})
