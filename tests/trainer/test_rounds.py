"""The data engine over two rounds of coloured squares: what is kept, what is told, and what goes on after a stop."""

import hashlib
import json
import shutil
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from annotators.masks import encode_mask
from annotators.models.encodings import pixels_key
from annotators.quality import mask_iou
from maskmix import app
from pipeline.build import build
from pipeline.manifest import read_manifest
from pipeline.reader import iterate_samples
from pipeline.sidecar import read_sidecar
from pipeline.validate import verify
from tests.e2e.lines import job, tree
from tests.trainer.conftest import make_samples, write_dataset
from trainer.config import TrainRecipe
from trainer.data.table import decode_image
from trainer.rounds.margin import Choice, learn_margin, mean_iou
from trainer.rounds.run import Round, fit_one, keep_copy, run_loop
from trainer.rounds.table import label_facts, table_text
from trainer.use.expert import TrainedExpert

pytestmark = pytest.mark.slow


def plain_recipe(steps: int = 24) -> TrainRecipe:
    optim = {"steps": steps, "checkpoint_every": 12, "warmup": 2, "lr": 3e-3}
    return TrainRecipe.model_validate(
        {
            "name": "test",
            "data": {"size_hw": (16, 24), "batch": 6, "gold_share": 0.5},
            "model": {"width": 8, "dim": 16, "depth": 1, "heads": 2},
            "weight": {"method": "dwsl", "f": "affine"},
            "threshold": 0.2,
            "discriminate": {"folds": 2, "optim": optim},
            "optim": optim,
        }
    )


def ready(root: Path) -> Path:
    """Let a written dataset say the two facts of its recipe that a build over it needs."""
    facts = json.loads((root / "manifest.json").read_text())
    facts["recipe"] = {"image_format": "png", "unit_size": 20}
    (root / "manifest.json").write_text(json.dumps(facts))
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("data")
    train = make_samples(16, gold_every=4, spoil=0.4, seed=1)
    test = make_samples(4, gold_every=100, spoil=0.0, seed=2)
    return (
        ready(write_dataset(folder / "train", train, name="squares")),
        ready(write_dataset(folder / "test", test, name="squares-test")),
    )


@pytest.fixture(scope="module")
def told() -> list[str]:
    return []


@pytest.fixture(scope="module")
def looped(data, told, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rounds after round 0, in a folder named from where the loop runs."""
    out = tmp_path_factory.mktemp("loop") / "out"
    run_loop(*data, plain_recipe(), out=out, rounds=2, tell=told.append)
    return out


def files(root: Path) -> dict[str, str]:
    return {
        str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(root.rglob("*"))
        if p.is_file() and "usage" not in p.parts and not p.name.startswith("log")
    }


def test_every_round_keeps_its_dataset_its_sidecars_and_its_run(looped):
    for number in range(3):
        this = Round(number=number, folder=looped / f"round-{number}")
        assert read_sidecar(this.dataset, "weights").num_rows == 32
        assert (this.dataset / "sidecars" / "discriminator.json").exists()
        assert (this.run / "model.safetensors").exists()
        assert (this.run / "results" / "squares-test-train.json").exists()
        assert (this.annotators / "folds.json").exists() == (number < 2)


def test_no_sample_is_lost_or_invented_in_any_round(data, looped):
    wanted = {s.id: s for s in iterate_samples(data[0])}
    for number in (1, 2):
        root = looped / f"round-{number}" / "dataset"
        totals = read_manifest(root).totals
        assert (totals.inputs, totals.committed, totals.quarantined) == (32, 32, 0)
        assert not verify(root).problems
        found = {s.id: s for s in iterate_samples(root)}
        assert found.keys() == wanted.keys()
        for name, sample in found.items():
            kept = ("image", "instructions", "source", "style", "gold", "gold_role")
            assert [getattr(sample, k) for k in kept] == [getattr(wanted[name], k) for k in kept]
            assert sample.candidates[0].made_by.expert == "label"
            assert (sample.candidates[0].mask.array() == (wanted[name].label.mask >= 128)).all()


def test_a_mask_is_by_a_model_that_has_not_learnt_from_its_picture(looped):
    """The fold that provenance names is the fold of the sample in the round that trained the model."""
    answered = 0
    for number in (1, 2):
        before = looped / f"round-{number - 1}"
        table = read_sidecar(before / "dataset", "weights").to_pydict()
        fold_of = dict(zip(table["sample_id"], table["fold"], strict=True))
        for sample in iterate_samples(looped / f"round-{number}" / "dataset"):
            for candidate in sample.candidates:
                if candidate.made_by.expert != "trained":
                    continue
                fold = fold_of[sample.id]
                assert candidate.made_by.model == f"{before}/annotators/fold-{fold}"
                one = TrainedExpert(model=candidate.made_by.model).identity
                assert candidate.made_by.revision == one.revision
                run = json.loads((before / "annotators" / f"fold-{fold}" / "run.json").read_text())
                assert run["left_out_fold"] == fold
                answered += 1
    assert answered > 40


def test_a_model_without_a_fold_does_not_depend_on_what_is_in_it(data, looped, tmp_path):
    """Spoil every label and gold mask of fold 0: the model that left it out is the same to the byte."""
    first = looped / "round-0"
    table = read_sidecar(first / "dataset", "weights").to_pydict()
    fold_of = dict(zip(table["sample_id"], table["fold"], strict=True))
    samples = []
    for sample in iterate_samples(first / "dataset"):
        if fold_of[sample.id] == 0:
            wrong = np.zeros(sample.size_hw, np.uint8)
            wrong[:4, :4] = 255
            label = replace(sample.label, mask=wrong)
            sample = replace(sample, label=label, gold=encode_mask(wrong > 0))
        samples.append(sample)
    other = ready(write_dataset(tmp_path / "dataset", samples, name="squares"))
    shutil.copytree(first / "dataset" / "sidecars", other / "sidecars")
    for fold in (0, 1):
        fit_one(Round(number=0, folder=tmp_path), plain_recipe(), 0, fold)
    same = [
        (tmp_path / "annotators" / f"fold-{k}" / "model.safetensors").read_bytes()
        == (first / "annotators" / f"fold-{k}" / "model.safetensors").read_bytes()
        for k in (0, 1)
    ]
    assert same == [True, False]


def test_the_table_has_a_row_a_round_and_the_gain_of_each(looped):
    result = json.loads((looped / "loop.json").read_text())
    rows = result["rows"]
    assert [row["round"] for row in rows] == [0, 1, 2]
    assert [row["margin"] is None for row in rows] == [True, False, False]
    assert rows[0]["gain"] is None
    for before, row in pairwise(rows):
        assert row["gain"] == pytest.approx(row["giou"] - before["giou"], abs=1e-6)
    assert rows[0]["taken"] == 0
    assert {row["audited"] for row in rows} == {24}
    ious = [
        s.label.mask for s in iterate_samples(looped / "round-0/dataset") if s.gold_role == "audit"
    ]
    assert len(ious) == rows[0]["audited"]
    text = (looped / "loop.txt").read_text()
    assert text == table_text(result)
    assert len(text.splitlines()) == 6
    assert "gain over round 0" in text


def test_the_command_that_builds_is_told_and_its_recipe_kept(looped, told):
    built = [line for line in told if line.startswith("$ maskmix build")]
    assert len(built) == 2
    assert f"--recipe {looped}/round-1/recipe.yaml" in built[0]
    assert (looped / "round-2" / "recipe.yaml").exists()


def test_a_finished_loop_finds_all_of_it_done(data, looped, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(looped, out)
    before, lines = files(out), []
    run_loop(*data, plain_recipe(), out=out, rounds=2, tell=lines.append)
    assert files(out) == before
    assert not [line for line in lines if line.startswith("$")]


@pytest.mark.parametrize(
    "lost",
    [
        ("round-1/round.json", "round-1/run/model.json"),
        ("round-0/annotators/folds.json", "round-1", "round-2"),
        ("round-1/judges/folds.json", "round-1/dataset/sidecars", "round-2"),
        ("round-2/dataset/manifest.json", "round-2/round.json"),
        ("round-2/margin.json", "round-2/dataset", "round-2/judges", "round-2/run", "round-2/round.json"),
    ],
)  # fmt: skip
def test_a_loop_that_was_stopped_ends_where_it_would_have(
    data, looped, tmp_path, lost, monkeypatch
):
    """What a kill at a step leaves is what stood before the step's last file."""
    before = files(looped)
    kept = tmp_path / "kept"
    shutil.copytree(looped, kept)
    try:
        for name in lost:
            path = looped / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        run_loop(*data, plain_recipe(), out=looped, rounds=2)
        assert files(looped) == before
    finally:
        shutil.rmtree(looped)
        shutil.copytree(kept, looped)


def test_the_dataset_it_began_with_is_not_written_to(data, tmp_path):
    assert not (data[0] / "sidecars").exists()
    keep_copy(data[0], tmp_path / "copy")
    (tmp_path / "copy" / "sidecars").mkdir()
    assert files(tmp_path / "copy") == files(data[0])
    keep_copy(data[0], tmp_path / "copy")


def test_the_margin_is_the_one_that_agrees_best_with_gold():
    choices = [
        Choice(worths=(0.5, 0.9), ious=(0.2, 0.8)),
        Choice(worths=(0.5, 0.6), ious=(1.0, 0.1)),
        Choice(worths=(None, 0.9), ious=(0.5, 0.0)),
    ]
    assert mean_iou(choices, 0.0) == pytest.approx((0.8 + 0.1 + 0.5) / 3)
    assert mean_iou(choices, 0.2) == pytest.approx((0.8 + 1.0 + 0.5) / 3)
    assert mean_iou(choices, 1.0) == pytest.approx((0.2 + 1.0 + 0.5) / 3)


def test_what_the_margin_promises_on_gold_is_what_the_build_then_does(looped):
    """IoU of the chosen labels on gold for training, before the build and in it."""
    told = json.loads((looped / "round-1" / "margin.json").read_text())
    ious = [
        mask_iou(s.label.mask >= 128, s.gold.array())
        for s in iterate_samples(looped / "round-1" / "dataset")
        if s.gold_role == "train"
    ]
    assert told["samples"] == len(ious) == 8
    assert told["iou_after"] == pytest.approx(np.mean(ious), abs=1e-5)
    assert told["iou_before"] <= told["iou_after"] <= told["iou_oracle"]


def test_the_folds_know_every_picture(looped):
    folds = json.loads((looped / "round-0" / "annotators" / "folds.json").read_text())
    keys = {pixels_key(decode_image(s)) for s in iterate_samples(looped / "round-0" / "dataset")}
    assert folds["pictures"].keys() == keys
    assert set(folds["pictures"].values()) == {0, 1}


def test_labels_without_audit_gold_are_counted_and_not_judged(tmp_path):
    samples = make_samples(2, gold_every=1, spoil=0.0, seed=3)
    facts = label_facts(write_dataset(tmp_path / "d", samples, name="all-gold"))
    assert (facts["samples"], facts["gold"], facts["audited"], facts["right"]) == (4, 4, 0, None)


def test_what_cannot_be_done_is_said(data, looped, tmp_path):
    recipe = plain_recipe()
    with pytest.raises(ValueError, match="at least 1"):
        run_loop(*data, recipe, out=tmp_path / "a", rounds=0)
    with pytest.raises(ValueError, match="another loop \\(other seed\\)"):
        run_loop(*data, recipe, out=looped, rounds=2, seed=5)
    with pytest.raises(ValueError, match="recipe_hash"):
        run_loop(*data, plain_recipe(steps=7), out=looped, rounds=2)
    with pytest.raises(ValueError, match="nowhere"):
        run_loop(tmp_path / "nowhere", data[1], recipe, out=tmp_path / "b", rounds=1)
    samples = make_samples(4, gold_every=1, spoil=0.0, seed=4)
    gold = ready(write_dataset(tmp_path / "gold", samples, name="gold"))
    with pytest.raises(ValueError, match="machine labels"):
        run_loop(gold, data[1], recipe, out=tmp_path / "c", rounds=1)
    none = write_dataset(
        tmp_path / "none", make_samples(4, gold_every=100, spoil=0.0, seed=5)[2:], name="none"
    )
    folder = looped / "round-0"
    with pytest.raises(ValueError, match="no gold"):
        learn_margin(none, annotators=str(folder / "annotators"), judges=str(folder / "judges"))


def test_the_verb_prints_the_table_and_one_json_object(data, looped, tmp_path, monkeypatch):
    out = tmp_path / "out"
    shutil.copytree(looped, out)
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(plain_recipe().model_dump(mode="json")))
    words = ["loop", *map(str, data), "--rounds", "2", "--recipe", str(path), "--out", str(out)]
    shown = CliRunner().invoke(app, words)
    assert shown.exception is None, shown.exception
    assert (out / "loop.txt").read_text() in shown.output
    facts: dict[str, Any] = json.loads(
        CliRunner().invoke(app, [*words, "--json"]).stdout.splitlines()[-1]
    )
    assert len(facts["rows"]) == 3


@pytest.mark.ray
def test_a_round_gives_the_same_bytes_from_pools_of_experts_on_ray(looped, tmp_path):
    import ray

    from pipeline.executors.ray import run_on_ray

    raw = yaml.safe_load((looped / "round-1" / "recipe.yaml").read_text())
    stages = raw["stages"]
    for use in (*stages["join"]["experts"], *stages["choose"]["judges"]):
        use["resources"] = {"replicas": 2, "cpus": 0.5}
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        build(job(raw, tmp_path / "pools"), partial(run_on_ray, workers=2))
    finally:
        ray.shutdown()
    assert tree(tmp_path / "pools") == tree(looped / "round-1" / "dataset")
