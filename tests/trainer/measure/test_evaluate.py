"""Evaluation at the stored size, and what it leaves for reports."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from annotators.masks import Mask
from pipeline.reader import iterate_samples
from tests.trainer.conftest import make_samples, write_dataset
from trainer.config import TrainRecipe
from trainer.data.table import decode_image
from trainer.fit import fit
from trainer.measure.evaluate import evaluate
from trainer.measure.metrics import iou
from trainer.use.predictor import Predictor


@pytest.fixture
def run(squares: Path, recipe: TrainRecipe, tmp_path: Path) -> Path:
    return fit(squares, recipe, out=tmp_path / "run")


def test_stored_predictions_have_the_stored_size_and_the_iou_that_is_claimed(
    run: Path, squares_test: Path
):
    summary = evaluate(run, squares_test)
    assert summary == json.loads((run / "results" / "squares-test-train.json").read_text())
    assert summary["samples"] == 16
    assert set(summary["by_style"]) == {"phrase", "command"}
    rows = pq.read_table(run / "results" / "squares-test-train.parquet").to_pylist()
    samples = {s.id: s for s in iterate_samples(squares_test)}
    predictor = Predictor.from_pretrained(run)
    for row in rows:
        sample = samples[row["sample_id"]]
        mask = Mask(size_hw=(row["height"], row["width"]), counts=row["counts"]).array()
        assert sample.gold is not None
        assert iou(mask, sample.gold.array()) == pytest.approx(row["iou"], abs=1e-6)
        probability = predictor.predict(decode_image(sample), sample.instructions[0])
        assert np.array_equal(probability >= 0.5, mask)
    assert summary["overall"]["giou"] == pytest.approx(np.mean([row["iou"] for row in rows]), abs=1e-6)  # fmt: skip
    assert summary["worst"][0]["iou"] == min(row["iou"] for row in rows) or len(rows) > 12


def test_a_dataset_without_gold_is_refused(run: Path, tmp_path: Path):
    samples = [replace(s, gold=None) for s in make_samples(2, gold_every=1, spoil=0.0, seed=9)]
    with pytest.raises(ValueError, match="no gold mask"):
        evaluate(run, write_dataset(tmp_path / "d", samples, name="d"))


def test_an_unfinished_run_is_refused(squares: Path, recipe: TrainRecipe, tmp_path: Path):
    fit(squares, recipe, out=tmp_path / "half", stop_at=2)
    with pytest.raises(ValueError, match=r"no model\.json"):
        evaluate(tmp_path / "half", squares)
