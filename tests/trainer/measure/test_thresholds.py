"""A threshold with a promise: it holds as often as it says, is the smallest that does, and never sees audit gold."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.sidecar import LABELS, write_sidecar
from tests.trainer.conftest import make_samples, write_dataset
from trainer.measure.thresholds import (
    candidates,
    choose_threshold,
    lower_bound,
    threshold_for,
    threshold_lines,
)


def test_the_bound_is_that_of_clopper_and_pearson():
    for right, n in [(1, 1), (9, 10), (50, 60), (3, 40)]:
        bound = lower_bound(right, n, confidence=0.9)
        # at the bound, `right` or more of n come up with probability 0.1
        from scipy.stats import binom

        assert binom.sf(right - 1, n, bound) == pytest.approx(0.1, abs=1e-9)
    assert lower_bound(0, 10, confidence=0.9) == 0.0
    assert lower_bound(0, 0, confidence=0.9) == 0.0
    with pytest.raises(ValueError, match="3 right of 2"):
        lower_bound(3, 2, confidence=0.9)


def test_the_promise_is_broken_less_often_than_it_says_and_the_naive_choice_more_often():
    # right with chance p, p uniform: above t the precision is (1 + t) / 2
    wanted, broken, kept_none, naive_broken = 0.8, 0, 0, 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        p, machine = rng.random(200), rng.random(1000)
        right = rng.random(200) < p
        try:
            found = choose_threshold(p, right, machine, precision=wanted, confidence=0.9)
        except ValueError:
            kept_none += 1
        else:
            broken += (1 + found.value) / 2 < wanted
        naive = next(t for t in candidates(machine) if right[p >= t].mean() >= wanted)
        naive_broken += (1 + naive) / 2 < wanted
    assert broken <= 15
    assert kept_none < 75
    assert naive_broken > 50


def test_the_smallest_threshold_that_holds_is_taken():
    p = np.linspace(0, 1, 1000)
    found = choose_threshold(p, p >= 0.4, p, precision=0.9)
    # of those above t, 600 / (1000 (1 - t)) are right: 0.9 from t = 1/3 on, and the bound asks for a little more
    assert 0.34 <= found.value <= 0.4
    assert found.kept == int((p >= found.value).sum())
    assert found.bound >= 0.9
    lower = candidates(p)[candidates(p).index(found.value) - 1]
    above = p >= lower
    assert lower_bound(int((p[above] >= 0.4).sum()), int(above.sum()), confidence=0.95) < 0.9


def test_what_cannot_be_promised_is_refused_with_what_could_be():
    p = np.linspace(0, 1, 60)
    with pytest.raises(
        ValueError, match=r"0\.99 cannot be promised with 95% confidence from 60"
    ) as e:
        choose_threshold(p, p > 0.5, p, precision=0.99)
    assert "at least 299 labels above the threshold must have gold" in str(e.value)
    assert lower_bound(299, 299, confidence=0.95) >= 0.99
    assert lower_bound(298, 298, confidence=0.95) < 0.99
    for wrong in ({"precision": 1.0}, {"precision": 0.9, "confidence": 0.0}):
        with pytest.raises(ValueError, match="expected a number between 0 and 1"):
            choose_threshold(p, p > 0.5, p, **wrong)
    with pytest.raises(ValueError, match="every label has gold"):
        choose_threshold(p, p > 0.5, p[:0], precision=0.5)


def test_candidates_are_tried_from_above_and_the_first_that_fails_ends_it():
    p = np.linspace(0, 1, 1000)
    right = (p < 0.3) | (p > 0.5)  # a hole: what stands below it must not be reached
    found = choose_threshold(p, right, p, precision=0.97)
    assert 0.48 <= found.value <= 0.52
    assert right.mean() > 0.79, "all of them together would do for 0.75, but not those above 0.3"
    assert choose_threshold(p, right, p, precision=0.75).value > 0.3
    assert choose_threshold(p, right, p, precision=0.65).value == candidates(p)[0]


def test_a_threshold_as_printed_keeps_what_it_was_measured_on():
    machine = np.random.default_rng(0).random(999).astype(np.float32).astype(np.float64)
    p = np.linspace(0, 1, 500)
    found = choose_threshold(p, p > 0.2, machine, precision=0.9)
    assert int((machine >= float(f"{found.value:.6f}")).sum()) == found.kept


def test_on_a_dataset_only_gold_to_learn_from_chooses_and_audit_gold_tells_the_truth(
    tmp_path: Path,
):
    samples = make_samples(120, gold_every=2, spoil=0.4, seed=7)
    root = write_dataset(tmp_path / "d", samples, name="d")
    right = np.array([bool(((s.label.mask > 0) == s.gold.array()).all()) for s in samples])
    learnable = np.array([s.gold_role == "train" for s in samples])
    noise = np.random.default_rng(0).random(240)
    p = np.where(right, 0.6 + 0.4 * noise, 0.7 * noise).astype(np.float32)
    write_labels(root, samples, p)
    found = threshold_for(root, precision=0.85)
    kept = (p >= found.value) & ~learnable
    assert (found.kept, found.machine) == (int(kept.sum()), 120)
    assert (found.audited, found.audit_right) == (int(kept.sum()), int(right[kept].sum()))
    assert found.true_precision is not None
    assert found.true_precision >= 0.85
    above = (p >= found.value) & learnable
    assert (found.gold, found.right) == (int(above.sum()), int(right[above].sum()))
    said = "\n".join(threshold_lines(found))
    assert f"{found.kept} of 120 machine labels" in said
    assert f"({found.true_precision:.3f})" in said


def write_labels(root: Path, samples: list, p: np.ndarray) -> None:
    columns = {"sample_id": [s.id for s in samples], "p_label": p, "fold": [0] * len(samples)}
    write_sidecar(root, "weights_labels", pa.table(columns, schema=LABELS))
