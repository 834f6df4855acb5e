"""The tables of calibrate, from rows made by hand; whole builds are in tests/e2e/test_relabel.py."""

import numpy as np
import pytest

from annotators.reliability import Audit, VoteTally
from annotators.votes import Vote
from pipeline.calibrate import (
    Judged,
    calibration_lines,
    calibration_table,
    lacking,
    reliability_lines,
    reliability_table,
)


def judged(n, *, right=0.4, baseline=None):
    """`n` scored labels, half as sure as they are right, every fifth without gold and every tenth empty."""
    rng = np.random.default_rng(1)
    rows = Judged(rules={"agreement"})
    for number in range(n):
        good = rng.random() < right
        rows.ids.append(f"s-{number}")
        rows.images.append(f"image-{number // 2}")
        rows.scores.append(float(0.3 + 0.3 * good + 0.2 * rng.random()))
        rows.marks.append(number % 10 != 0)
        rows.ious.append(None if number % 5 == 1 else float(0.6 * good + 0.3 * rng.random()))
        rows.baseline.append(baseline)
    return rows


@pytest.mark.slow  # importing scikit-learn takes a second
def test_rows_without_gold_are_told_by_all_and_empty_labels_are_never_right():
    facts, table = calibration_table(judged(200, baseline=0.5))
    rows = table.to_pylist()
    assert facts["n"] == sum(row["fold"] is not None for row in rows) == 140
    assert all(row["calibrated"] == 0.0 for row in rows[::10])
    without = rows[1::5]
    assert all(row["iou"] is None and row["fold"] is None for row in without)
    assert {round(row["calibrated"], 2) for row in without} <= {0.0, 1.0}
    assert facts["judges"]["score"]["auc"] == 1.0
    assert facts["judges"]["cleanlab"] == {"auc": 0.5, "spearman": None}


@pytest.mark.slow  # importing scikit-learn takes a second
def test_without_cleanlab_its_place_is_empty_and_the_table_says_why():
    facts, table = calibration_table(judged(200))
    assert set(facts["judges"]) == {"score", "calibrated"}
    assert table["cleanlab"].null_count == 200
    assert any("pip install 'maskmix[label-quality]'" in line for line in calibration_lines(facts))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (judged(0), "no label was scored"),
        (judged(60), "42 labels have gold (train or audit); a calibration needs 50"),
        (judged(200, right=0.02), "a calibration needs 10 right and 10 wrong ones"),
        (judged(200), ""),
    ],
)
def test_what_a_calibration_lacks_is_said_in_numbers(rows, message):
    assert message in lacking(rows)
    assert bool(message) == bool(lacking(rows))


def test_rates_stand_beside_what_gold_says_of_them():
    tally, audit = VoteTally(), Audit()
    gold = np.zeros((8, 10), bool)
    gold[:, :5] = True
    half = gold.copy()
    half[4:] = False
    votes = [
        Vote(expert=name, voter=name, members=(0,), mask=mask, score=0.5, stability=0.5)
        for name, mask in (("a", gold), ("b", gold), ("half", half))
    ]
    tally.add(votes, style="phrase")
    tally.add(votes[:2], style="all")
    audit.add(votes, gold, style="phrase")
    table = reliability_table(tally, audit)
    row = table["overall"]["half"]
    assert (row["samples"], row["coverage"], row["gold"]) == (1, 0.5, 1)
    assert (row["true_sensitivity"], row["true_specificity"]) == (0.5, 1.0)
    assert row["sensitivity"] == pytest.approx(0.5, abs=0.01)
    assert table["styles"]["all"]["half"]["samples"] == 0
    assert table["styles"]["all"]["a"]["true_sensitivity"] is None
    assert table["samples_by_style"] == {"all": 1, "phrase": 1}
    assert reliability_lines(table)[3].startswith("half      50%")
