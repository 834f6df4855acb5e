"""p_clean against the truth: measures right by construction, and recalibration that audit gold never touches."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from annotators.calibration import calibration_error, read_off
from annotators.masks import encode_mask
from pipeline.sidecar import LABELS, read_sidecar, write_sidecar
from tests.trainer.conftest import make_samples, write_dataset
from trainer.measure.reliability import (
    CALIBRATED,
    adaptive_bins,
    brier,
    fit_platt,
    judged_labels,
    measures,
    recalibrate,
    reliability,
    reliability_lines,
)


def judge(root: Path, samples: list, *, seed: int = 0) -> np.ndarray:
    """A judge that orders labels well and is far too sure of good ones: the sidecar as `discriminate` leaves it."""
    rng = np.random.default_rng(seed)
    right = np.array([bool((s.label.mask > 0).__eq__(s.gold.array()).all()) for s in samples])
    p = np.clip(np.where(right, 0.92, 0.75) + rng.normal(0, 0.08, len(samples)), 0, 1)
    columns = {"sample_id": [s.id for s in samples], "p_label": p, "fold": [0] * len(samples)}
    write_sidecar(root, "weights_labels", pa.table(columns, schema=LABELS))
    return right


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 machine labels, a half of them wrong; 100 with gold to learn from, 100 with audit gold."""
    samples = make_samples(100, gold_every=2, spoil=0.5, seed=4)
    root = write_dataset(tmp_path_factory.mktemp("judged") / "d", samples, name="d")
    judge(root, samples)
    return root


def test_recalibration_learnt_from_gold_makes_p_clean_honest_on_audit_gold(judged: Path):
    facts = reliability(judged)
    raw, better = facts["audit"]["raw"], facts["audit"]["calibrated"]
    assert raw["n"] == better["n"] == 100
    assert raw["ece"] > 0.3
    assert better["ece"] < 0.15
    assert better["ece_adaptive"] < 0.15 < raw["ece_adaptive"]
    assert better["brier"] < raw["brier"] - 0.1
    assert better["auc"] == pytest.approx(raw["auc"], abs=0.02), "the order stays, up to ties"
    assert facts["learnt"]["out_of_fold"]["ece"] < 0.15
    assert json.loads((judged / "sidecars" / "weights_reliability.json").read_text()) == facts
    lines = reliability_lines(facts)
    assert any(line.startswith("audit gold, recalibrated") for line in lines)


def test_every_label_gets_a_calibrated_score_and_that_of_gold_is_out_of_fold(judged: Path):
    facts = reliability(judged, method="isotonic")
    assert facts["learnt"]["method"] == "isotonic"
    table = read_sidecar(judged, "weights_calibrated")
    assert table.schema.equals(CALIBRATED)
    labels = judged_labels(judged)
    assert table["sample_id"].to_pylist() == list(labels.ids)
    knots = tuple((x, y) for x, y in facts["learnt"]["knots"])
    read = np.array([read_off(knots, p) for p in labels.p.tolist()])
    calibrated = table["calibrated"].to_numpy()
    assert np.allclose(calibrated[labels.audited], read[labels.audited], atol=1e-6)
    assert (np.abs(calibrated - read)[labels.learnable] > 1e-3).any()


def test_audit_gold_changes_no_knot_and_no_score(judged: Path, tmp_path: Path):
    samples = make_samples(100, gold_every=2, spoil=0.5, seed=4)
    flipped = [
        replace(s, gold=encode_mask(~s.gold.array())) if s.gold_role == "audit" else s
        for s in samples
    ]
    other = write_dataset(tmp_path / "d", flipped, name="d")
    table = read_sidecar(judged, "weights_labels")
    write_sidecar(other, "weights_labels", table)
    mine, theirs = reliability(judged), reliability(other)
    assert mine["learnt"] == theirs["learnt"]
    assert read_sidecar(judged, "weights_calibrated").equals(
        read_sidecar(other, "weights_calibrated")
    )
    assert mine["audit"] != theirs["audit"]


def test_too_little_gold_is_measured_all_the_same_and_says_what_is_lacking(tmp_path: Path):
    samples = make_samples(12, gold_every=6, spoil=0.5, seed=4)
    root = write_dataset(tmp_path / "d", samples, name="d")
    judge(root, samples)
    facts = reliability(root)
    assert facts["learnt"] is None
    assert facts["audit"]["calibrated"] is None
    assert facts["audit"]["raw"]["n"] == 20
    assert "4 machine labels of 2 photographs" in facts["why"]
    assert not (root / "sidecars" / "weights_calibrated.parquet").exists()
    assert "not recalibrated" in reliability_lines(facts)[-1]


def test_a_dataset_that_was_not_judged_is_refused(tmp_path: Path):
    samples = make_samples(2, gold_every=2, spoil=0, seed=1)
    root = write_dataset(tmp_path / "d", samples, name="d")
    with pytest.raises(ValueError, match="no sidecar 'weights_labels'"):
        reliability(root)
    judge(root, samples[:3])
    with pytest.raises(ValueError, match="of another build"):
        reliability(root)
    with pytest.raises(ValueError, match="expected auto, platt or isotonic"):
        reliability(root, method="spline")


def test_measures_of_probabilities_that_are_honest_by_construction():
    rng = np.random.default_rng(0)
    p = rng.random(20_000)
    facts = measures(p, rng.random(20_000) < p)
    assert facts is not None
    assert facts["ece"] < 0.015
    assert facts["ece_adaptive"] < 0.015
    assert facts["brier"] == pytest.approx(1 / 6, abs=0.005)
    assert facts["auc"] == pytest.approx(5 / 6, abs=0.01)
    skewed = measures(p**3, rng.random(20_000) < p)
    assert skewed is not None
    assert skewed["ece"] == pytest.approx(1 / 4, abs=0.01), "E[p] - E[p^3]"
    assert measures(np.zeros(0), np.zeros(0, bool)) is None
    one_kind = measures(np.array([0.2, 0.4]), np.array([True, True]))
    assert one_kind is not None
    assert one_kind["auc"] is None


def test_adaptive_bins_hold_equal_counts_and_never_part_equal_scores():
    rng = np.random.default_rng(1)
    p = rng.random(1000) ** 4
    bins = adaptive_bins(p, p > 0.1)
    assert [b.n for b in bins] == [100] * 10
    assert all(a.hi < b.lo for a, b in pairwise(bins))
    tied = adaptive_bins(np.repeat([0.1, 0.9], [70, 30]), np.repeat([False, True], [70, 30]))
    assert [(b.lo, b.hi, b.n) for b in tied] == [(0.1, 0.1, 70), (0.9, 0.9, 30)]
    assert calibration_error(tied) == pytest.approx(0.1)
    assert brier(np.repeat([0.1, 0.9], [70, 30]), np.repeat([False, True], [70, 30])) == (
        pytest.approx(0.01)
    )


def test_platt_finds_the_logistic_that_made_the_labels_and_stays_sane_without_one():
    rng = np.random.default_rng(2)
    p = rng.uniform(0.02, 0.98, 30_000)
    chance = 1 / (1 + np.exp(-(0.5 * np.log(p / (1 - p)) - 1.0)))
    knots = fit_platt(p, (rng.random(30_000) < chance).astype(float))
    for x in (0.05, 0.3, 0.5, 0.7, 0.95):
        truth = 1 / (1 + np.exp(-(0.5 * np.log(x / (1 - x)) - 1.0)))
        assert read_off(knots, x) == pytest.approx(truth, abs=0.02)
    heights = [y for _, y in knots]
    assert heights == sorted(heights)
    apart = fit_platt(np.array([0.1, 0.2, 0.8, 0.9]), np.array([0.0, 0.0, 1.0, 1.0]))
    assert 0.0 < read_off(apart, 0.1) < 0.5 < read_off(apart, 0.9) < 1.0
    against = fit_platt(np.array([0.1, 0.2, 0.8, 0.9]), np.array([1.0, 1.0, 0.0, 0.0]))
    assert read_off(against, 0.1) == read_off(against, 0.9) == pytest.approx(0.5)


def test_auto_takes_the_curve_that_fits_better_out_of_fold():
    rng = np.random.default_rng(3)
    p = rng.random(2000)
    images = [str(i // 2) for i in range(2000)]
    step = rng.random(2000) < np.where((p > 0.4) & (p < 0.6), 0.9, np.where(p >= 0.6, 0.95, 0.05))
    assert recalibrate(p, step, images)[0] == "isotonic"
    smooth = rng.random(2000) < 1 / (1 + np.exp(-np.log(p / (1 - p))))
    assert recalibrate(p, smooth, images)[0] == "platt"
