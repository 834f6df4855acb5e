"""Build, calibrate, build again from what the experts said: lost experts count less, and nobody saw gold to do it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from annotators.halt import Halt
from annotators.registry import EXPERTS
from maskmix import app
from pipeline.build import build
from pipeline.calibrate import calibrate
from pipeline.executors.local import run_local
from pipeline.line import resolve
from pipeline.manifest import read_manifest
from pipeline.reader import iterate_samples
from pipeline.sidecar import read_sidecar
from pipeline.validate import verify
from tests.e2e.lines import job, tree
from tests.e2e.planted_experts import draw_balls, planted_recipe

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory):
    """A finished dataset of a planted panel with audit gold, calibrated."""
    folder = tmp_path_factory.mktemp("planted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(EXPERTS, "planted", "tests.e2e.planted_experts:PlantedExpert")
        build(job(planted_recipe(draw_balls(folder / "items", 96)), folder / "one"), run_local)
        calibrate(folder / "one")
        yield folder / "one"


def again(root: Path, **stages: Any) -> dict[str, Any]:
    """The recipe `relabel`, over `root`, as a raw mapping."""
    sidecars = root / "sidecars"
    return {
        "name": "again",
        "unit_size": 20,
        "image_format": "png",
        "source": {"kind": "shards", "path": str(root)},
        "stages": {
            "fuse": {"rule": "staple", "learnt": str(sidecars / "reliability.json")},
            "score": {"learnt": str(sidecars / "calibration.json")},
            "keep": {"empty": "keep"},
            **stages,
        },
    }


def mean_iou(root: Path) -> float:
    ious: list[float] = []
    for sample in iterate_samples(root):
        assert sample.label is not None
        assert sample.gold is not None
        label, gold = sample.label.mask >= 128, sample.gold.array()
        ious.append(float((label & gold).sum() / (label | gold).sum()))
    return float(np.mean(ious))


def test_lost_experts_count_less_once_the_dataset_was_learnt_from(first, tmp_path):
    """Per image STAPLE follows two lost experts when one good one speaks; over the dataset it does not (.40 -> .67)."""
    table = json.loads((first / "sidecars" / "reliability.json").read_text())
    skill = {
        voter: row["sensitivity"] + row["specificity"] for voter, row in table["overall"].items()
    }
    truth = {voter: row["true_sensitivity"] for voter, row in table["overall"].items()}
    lost = sorted(truth, key=lambda voter: truth[voter])[:2]
    assert max(skill[v] for v in lost) + 0.4 < min(skill[v] for v in skill if v not in lost)
    assert abs(table["overall"][lost[0]]["sensitivity"] - truth[lost[0]]) < 0.05
    build(job(again(first), tmp_path / "two"), run_local)
    assert not verify(tmp_path / "two").problems
    assert mean_iou(first) < 0.45
    assert mean_iou(tmp_path / "two") > 0.62


def test_a_relabelled_dataset_names_the_experts_whose_votes_it_holds(first, tmp_path):
    manifest = build(job(again(first), tmp_path / "two"), run_local)
    asked = [entry for entry in read_manifest(first).panel if entry.stage == "segment"]
    assert asked
    assert manifest.panel == []
    assert [entry for entry in manifest.inherited if entry.stage == "segment"] == asked


def test_the_score_becomes_a_chance_and_keeps_what_it_was(first, tmp_path):
    build(job(again(first, fuse={"rule": "staple"}), tmp_path / "two"), run_local)
    before = {s.id: s for s in iterate_samples(first)}
    for sample in iterate_samples(tmp_path / "two"):
        old = before[sample.id].quality
        assert sample.quality is not None
        assert old is not None
        if old.score == 0.0:
            assert sample.quality == old
            continue
        parts = dict(sample.quality.parts)
        assert sample.quality.rule == "agreement+isotonic"
        assert parts["raw"] == old.score
        assert parts["support"] == dict(old.parts)["support"]
        assert 0 <= sample.quality.score <= 1
    again_learnt = calibrate(tmp_path / "two")["calibration"]
    assert again_learnt["rules"] == ["agreement"]
    assert (
        again_learnt["right"]
        == json.loads((first / "sidecars/calibration.json").read_text())["right"]
    )


def test_a_build_from_shards_carries_over_what_came_with_the_samples(first, tmp_path):
    build(job(again(first), tmp_path / "two"), run_local)
    kept = ("id", "image", "size_hw", "instructions", "source", "style", "gold", "gold_role", "phrases",
            "proposals", "candidates", "faults", "extra")  # fmt: skip
    for one, two in zip(iterate_samples(first), iterate_samples(tmp_path / "two"), strict=True):
        assert [getattr(one, name) for name in kept] == [getattr(two, name) for name in kept]


def test_the_recipe_holds_what_was_learnt_and_needs_no_file_later(first, tmp_path, monkeypatch):
    monkeypatch.chdir(first.parent)
    raw = again(first, fuse={"rule": "staple", "learnt": "one/sidecars/reliability.json"})
    recipe = resolve(raw)
    assert recipe.stages.fuse is not None
    learnt = recipe.stages.fuse.learnt
    assert isinstance(learnt, dict)
    assert set(learnt) == {"kind", "overall", "styles"}
    assert set(learnt["styles"]) == {"command", "phrase"}
    assert "true_sensitivity" not in json.dumps(learnt)
    monkeypatch.chdir(tmp_path)
    assert resolve(recipe.model_dump(mode="json")) == recipe
    build(job(recipe.model_dump(mode="json"), tmp_path / "a"), run_local)
    build(job(raw | again(first), tmp_path / "b"), run_local)
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_sidecars_say_the_same_in_every_run(first):
    names = ("reliability.json", "calibration.json", "quality.parquet")
    before = [(first / "sidecars" / name).read_bytes() for name in names]
    calibrate(first)
    assert [(first / "sidecars" / name).read_bytes() for name in names] == before


def test_gold_is_never_judged_by_knots_it_was_fitted_on(first):
    rows = read_sidecar(first, "quality").to_pylist()
    samples = {s.id: s for s in iterate_samples(first)}
    assert [row["sample_id"] for row in rows] == list(samples)
    fitted = [row for row in rows if row["fold"] is not None]
    assert len(fitted) == 94
    assert {row["fold"] for row in fitted} == {0, 1, 2, 3, 4}
    by_image: dict[str, set[int]] = {}
    for row in fitted:
        by_image.setdefault(samples[row["sample_id"]].source.image_sha256, set()).add(row["fold"])
    assert all(len(folds) == 1 for folds in by_image.values())
    table = json.loads((first / "sidecars" / "calibration.json").read_text())
    assert table["n"] == 94
    assert table["ece_after"] < table["ece_before"]
    assert set(table["judges"]) == {"score", "calibrated", "cleanlab"}


def test_the_command_prints_who_can_be_trusted_and_what_the_score_is_worth(first):
    done = CliRunner().invoke(app, ["calibrate", str(first)])
    assert done.exit_code == 0, done.output
    assert done.output.count("planted@") == 4
    assert "calibration error" in done.output
    told = json.loads(CliRunner().invoke(app, ["calibrate", str(first), "--json"]).output)
    assert told["reliability"]["samples"] == 96
    assert told["why"] == ""


def test_without_gold_only_reliability_is_learnt(tmp_path, monkeypatch):
    monkeypatch.setitem(EXPERTS, "planted", "tests.e2e.planted_experts:PlantedExpert")
    items = draw_balls(tmp_path / "items", 8, gold=False)
    build(job(planted_recipe(items), tmp_path / "one"), run_local)
    done = CliRunner().invoke(app, ["calibrate", str(tmp_path / "one")])
    assert done.exit_code == 0, done.output
    assert "0 labels have gold (train or audit); a calibration needs 50" in done.output
    assert [p.name for p in (tmp_path / "one" / "sidecars").iterdir()] == ["reliability.json"]


def test_a_table_of_another_panel_stops_the_build(first, tmp_path):
    table = json.loads((first / "sidecars" / "reliability.json").read_text())
    strange = {voter.replace("planted", "other"): row for voter, row in table["overall"].items()}
    path = tmp_path / "other.json"
    path.write_text(json.dumps({**table, "overall": strange, "styles": {}}))
    raw = again(first, fuse={"rule": "staple", "learnt": str(path)})
    with pytest.raises(Halt, match="know none of planted@"):
        build(job(raw, tmp_path / "two"), run_local)
