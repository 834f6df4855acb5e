"""The line with a base model: fit, resume, reload, predict, judge; a run over encoders that changed is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors import safe_open

from tests.trainer.models.tiny_frozen import base_recipe, save_clip, save_sam
from trainer.config import TrainRecipe
from trainer.discriminate import discriminate
from trainer.engine.loop import CHECKPOINTS
from trainer.fit import fit
from trainer.measure.evaluate import evaluate
from trainer.models.saved_model import load_model
from trainer.use.predictor import Predictor

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("encoders")


@pytest.fixture(scope="module")
def run(squares: Path, encoders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit(squares, base_recipe(encoders), out=tmp_path_factory.mktemp("runs") / "run")


def test_a_run_holds_what_was_trained_and_the_names_of_what_was_frozen(run: Path, encoders: Path):
    facts = json.loads((run / "model.json").read_text())
    assert facts["frozen"]["image"]["model"] == str(encoders / "sam.pth")
    assert facts["frozen"]["text"]["revision"].startswith("sha256:")
    assert facts["parameters_frozen"] > facts["parameters"] > 0
    assert json.loads((run / "run.json").read_text())["frozen"].keys() == {"image", "text"}
    size = (run / "model.safetensors").stat().st_size
    assert size < 4 * facts["parameters"] + 20_000


def test_no_frozen_tensor_is_in_a_checkpoint(run: Path):
    [*_, newest] = sorted((run / CHECKPOINTS).glob("*.safetensors"))
    with safe_open(newest, framework="pt") as file:
        names = list(file.keys())
    parts = {name.split(".")[2 if name.startswith("adamw") else 1] for name in names}
    assert not any(".image." in name or ".text." in name for name in names), names
    assert parts >= {"decoder", "project"}


def test_a_stopped_run_continued_gives_the_bytes_of_a_whole_one(
    run: Path, squares: Path, encoders: Path, tmp_path: Path
):
    fit(squares, base_recipe(encoders), out=tmp_path / "parts", stop_at=3)
    fit(squares, base_recipe(encoders), out=tmp_path / "parts")
    for name in ("model.safetensors", "model.json"):
        assert (run / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()


def test_a_reloaded_model_predicts_and_is_measured(run: Path, squares_test: Path):
    predictor = Predictor.from_pretrained(str(run))
    image = np.random.default_rng(0).integers(0, 255, (37, 61, 3), dtype=np.uint8)
    texts = ["the red square", "blue"]
    together = predictor.predict_all(image, texts)
    assert together.shape == (2, 37, 61)
    for text, its in zip(texts, together, strict=True):
        assert np.allclose(predictor.predict(image, text), its, atol=1e-5)
    assert evaluate(run, squares_test)["samples"] == 16


def test_other_weights_at_the_same_path_are_refused(squares: Path, tmp_path: Path):
    recipe = base_recipe(tmp_path, steps=2)
    run = fit(squares, recipe, out=tmp_path / "run")
    before = load_model(run).segmenter.state_dict()
    kept = (tmp_path / "sam.pth").read_bytes()
    save_sam(tmp_path / "sam.pth", side=128)
    with pytest.raises(ValueError, match=r"sam.pth are sha256:.*, not sha256:.*the files changed"):
        load_model(run)
    with pytest.raises(ValueError, match=r"another run .*frozen"):
        fit(squares, recipe, out=tmp_path / "run")
    (tmp_path / "sam.pth").unlink()
    with pytest.raises(ValueError, match="no such file"):
        load_model(run)
    (tmp_path / "sam.pth").write_bytes(kept)
    save_clip(tmp_path / "clip", seed=5)
    with pytest.raises(ValueError, match="clip are sha256:"):
        load_model(run)
    save_clip(tmp_path / "clip")
    after = load_model(run).segmenter.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_discriminate_scores_every_label_with_frozen_features_and_with_a_cache_the_same(
    squares: Path, encoders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MASKMIX_HOME", str(tmp_path / "home"))
    scores = []
    for cache in ("none", "disk"):
        root = tmp_path / cache
        shutil.copytree(squares, root, ignore=shutil.ignore_patterns("sidecars"))
        facts = discriminate(root, base_recipe(encoders, cache=cache, steps=3))
        assert facts["folds"] == 2
        rows = pq.read_table(root / "sidecars" / "weights.parquet").to_pydict()
        scores.append(np.array(rows["p_clean"]))
    assert len(scores[0]) == 48
    assert scores[0].std() > 0
    assert np.array_equal(scores[0], scores[1])


def test_a_decoder_over_frozen_random_features_learns_the_squares(
    squares: Path, squares_test: Path, encoders: Path, tmp_path: Path
):
    recipe = base_recipe(encoders, steps=120)
    raw = recipe.model_dump()
    raw["optim"] |= {"lr": 3e-3, "checkpoint_every": 120, "log_every": 10, "warmup": 10}
    raw["weight"]["method"] = "gold_only"
    raw["data"] |= {"gold_share": None, "batch": 8}
    run = fit(squares, TrainRecipe.model_validate(raw), out=tmp_path / "run")
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["loss"] < 0.6 * lines[0]["loss"]
