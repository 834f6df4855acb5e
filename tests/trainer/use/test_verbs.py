"""The verbs that use what was learnt, as people type them."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from maskmix import app
from tests.trainer.conftest import make_samples, write_dataset
from tests.trainer.measure.test_reliability import judge
from trainer.config import TrainRecipe
from trainer.fit import fit
from trainer.use.effects import apply_effect
from trainer.use.predictor import Predictor


@pytest.fixture(scope="module")
def run(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    raw = {
        "name": "test",
        "data": {"size_hw": (16, 24), "batch": 4},
        "model": {"width": 8, "dim": 16, "depth": 1, "heads": 2},
        "optim": {"steps": 2},
    }
    return fit(squares, TrainRecipe.model_validate(raw), out=tmp_path_factory.mktemp("run"))


def said(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exception is None, result.exception
    return result.stdout


def test_one_photograph_is_saved_as_the_model_downstream_would_see_it(run: Path, tmp_path: Path):
    photo, out = tmp_path / "photo.png", tmp_path / "x.png"
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    assert cv2.imwrite(str(photo), image[:, :, ::-1])
    p = Predictor.from_pretrained(run).predict(image, "the red mug")
    level = float(np.median(p))
    assert said("predict", run, photo, "the red mug", "--out", out, "--threshold", level) == (
        f"wrote {out}\n"
    )
    read = cv2.imread(str(out))
    assert read is not None
    assert np.array_equal(read[:, :, ::-1], apply_effect(image, p, threshold=level).image)
    words = ("predict", run, photo, "--instruction", "the red mug", "--out", out, "--json")
    shown = apply_effect(image, p, threshold=0.5)
    facts = json.loads(said(*words))
    assert facts == {"out": str(out), "failed_open": shown.failed_open, "box": list(shown.box)}


@pytest.mark.slow
def test_a_folder_and_a_dataset_are_predicted_by_the_same_verb(
    run: Path, squares: Path, tmp_path: Path
):
    folder, out = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    assert cv2.imwrite(str(folder / "a.png"), np.full((9, 12, 3), 60, np.uint8))
    (folder / "b.jpg").write_bytes(b"no photograph")
    text = said("predict", run, folder, "the red mug", "--out", out)
    assert "input                                2" in text
    assert "rejected   image-format" in text
    assert (out / "masks" / "000000" / "a.png").exists()
    facts = json.loads(
        said("predict", run, squares, "--out", tmp_path / "shown", "--effect", "blur", "--crop", "--json")
    )  # fmt: skip
    assert (facts["inputs"], facts["predicted"], facts["rejected"]) == (48, 48, 0)
    assert len(list((tmp_path / "shown" / "shown").rglob("*.png"))) == 48


@pytest.mark.slow
def test_a_judged_dataset_tells_its_reliability_and_a_threshold(tmp_path: Path):
    samples = make_samples(100, gold_every=2, spoil=0.3, seed=4)
    root = write_dataset(tmp_path / "d", samples, name="d")
    judge(root, samples)
    text = said("reliability", root)
    assert "audit gold, as it is" in text
    assert "audit gold, recalibrated (" in text
    assert json.loads(said("reliability", root, "--json"))["learnt"]["knots"]
    text = said("threshold", root, "--precision", 0.8)
    assert "with 95% confidence" in text
    assert "weight.zero_below=0." in text
    facts = json.loads(said("threshold", root, "--precision", 0.8, "--json"))
    assert facts["bound"] >= 0.8
    assert facts["true_precision"] == facts["audit_right"] / facts["audited"] >= 0.8
    shutil.rmtree(root / "sidecars")
    result = CliRunner().invoke(app, ["threshold", str(root), "--precision", "0.8"])
    assert "maskmix discriminate" in str(result.exception)
