"""The comparison: one command, resumed cell by cell, equal for all methods."""

import json
from pathlib import Path

import pytest
import torch

from tests.trainer.conftest import make_samples, write_dataset
from trainer.compare import METHODS, closed, compare, table_text, with_changes
from trainer.config import TrainRecipe


@pytest.fixture
def dwsl(recipe: TrainRecipe) -> TrainRecipe:
    raw = recipe.model_dump()
    return TrainRecipe.model_validate({**raw, "weight": {"method": "dwsl", "f": "identity"}})


def test_methods_share_model_budget_and_data_and_differ_in_weighting_alone(dwsl: TrainRecipe):
    for changes in METHODS.values():
        changed = with_changes(dwsl, changes)
        assert changed.model == dwsl.model
        assert changed.optim == dwsl.optim
        assert changed.loss == dwsl.loss
        assert changed.data.model_copy(update={"gold_share": 0.5}) == dwsl.data
    assert with_changes(dwsl, METHODS["dwsl"]) == dwsl
    assert with_changes(dwsl, METHODS["gold-only"]).weight.method == "gold_only"


@pytest.mark.slow
def test_a_comparison_runs_whole_and_again_without_training(
    squares_test: Path, dwsl: TrainRecipe, tmp_path: Path
):
    samples = make_samples(8, gold_every=2, spoil=0.4, seed=1)
    root = write_dataset(tmp_path / "train", samples, name="little")
    methods = ("gold-only", "dwsl", "clean-only")
    said: list[str] = []
    out = tmp_path / "out"
    result = compare(
        root, squares_test, dwsl, out=out, methods=methods, seeds=(0, 1), tell=said.append
    )
    assert len(said) == 7
    assert [(r["method"], r["seed"]) for r in result["rows"]] == [(m, s) for m in methods for s in (0, 1)]  # fmt: skip
    assert [r["oracle"] for r in result["rows"]] == [False] * 4 + [True] * 2
    assert {"giou", "ciou", "p50"} <= set(result["rows"][0])
    assert json.loads((tmp_path / "out" / "compare.json").read_text()) == result
    assert "clean-only (oracle)" in (tmp_path / "out" / "compare.txt").read_text()
    models = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*") if p.suffix == ".safetensors"}  # fmt: skip
    again = compare(root, squares_test, dwsl, out=tmp_path / "out", methods=methods, seeds=(0, 1))
    assert again == result
    assert {p: p.stat().st_mtime_ns for p in models} == models


def test_the_table_shows_mean_and_deviation():
    rows = [
        {"method": "dwsl", "seed": s, "oracle": False, "giou": g, "ciou": 0.5, "p50": None, "p70": 0.1, "p90": 0.0}
        for s, g in ((0, 0.4), (1, 0.6))
    ]  # fmt: skip
    budget = {"steps": 5, "batch": 2, "size_hw": [16, 24], "recipe": "x"}
    text = table_text({"dataset": "a", "test": "b", "budget": budget, "rows": rows})
    assert "0.500 ± 0.141" in text
    assert text.splitlines()[2].split()[:2] == ["dwsl", "2"]


def test_the_table_says_which_methods_cost_twice():
    row = {"seed": 0, "oracle": False, **dict.fromkeys(("giou", "ciou", "p50", "p70", "p90"), 0.5)}
    rows = [{"method": method, **row} for method in ("elr", "co-teaching")]
    budget = {"steps": 5, "batch": 2, "size_hw": [16, 24], "recipe": "x"}
    last = table_text({"dataset": "a", "test": "b", "budget": budget, "rows": rows}).splitlines()[
        -1
    ]
    assert last.startswith("co-teaching: two models")
    alone = table_text({"dataset": "a", "test": "b", "budget": budget, "rows": rows[:1]})
    assert "two models" not in alone


@pytest.mark.slow
def test_what_a_method_reads_is_made_first_and_what_is_there_is_left(
    squares_test: Path, dwsl: TrainRecipe, tmp_path: Path
):
    samples = make_samples(8, gold_every=2, spoil=0.4, seed=1)
    root = write_dataset(tmp_path / "train", samples, name="little")
    compare(root, squares_test, dwsl, out=tmp_path / "first", methods=("dwsl-clip",), seeds=(0,))
    weights = root / "sidecars" / "weights.parquet"
    before = weights.stat().st_mtime_ns
    result = compare(
        root, squares_test, dwsl, out=tmp_path / "second", methods=("confident", "dwsl"), seeds=(0,)
    )
    assert [row["method"] for row in result["rows"]] == ["confident", "dwsl"]
    assert (root / "sidecars" / "confident.parquet").exists()
    assert weights.stat().st_mtime_ns == before
    asked = dwsl.discriminate.model_copy(update={"eta": 0.25})
    for recipe, odd in ((dwsl, False), (dwsl.model_copy(update={"discriminate": asked}), True)):
        said: list[str] = []
        out = tmp_path / f"odd-{odd}"
        compare(root, squares_test, recipe, out=out, methods=("dwsl-clip",), seeds=(0,), tell=said.append)  # fmt: skip
        assert any("other settings or another tool" in line for line in said) == odd


@pytest.mark.slow
def test_a_recipe_that_corrects_has_its_guesses_made(
    squares_test: Path, dwsl: TrainRecipe, tmp_path: Path
):
    weight = dwsl.weight.model_copy(update={"zero_below": 0.6, "correct": 0.5})
    correcting = dwsl.model_copy(update={"weight": weight})
    samples = make_samples(8, gold_every=2, spoil=0.4, seed=1)
    root = write_dataset(tmp_path / "train", samples, name="little")
    methods = ("dwsl", "dwsl-identity")
    compare(root, squares_test, correcting, out=tmp_path / "out", methods=methods, seeds=(0,))
    assert (root / "sidecars" / "weights_guesses.parquet").exists()
    runs = [json.loads((tmp_path / "out" / f"{m}-0" / "run.json").read_text()) for m in methods]
    assert ["guesses_sha256" in run for run in runs] == [True, False]


def test_an_unknown_method_is_named_with_the_known_ones(
    squares: Path, dwsl: TrainRecipe, recipe: TrainRecipe, tmp_path: Path
):
    with pytest.raises(ValueError, match="did you mean 'dwsl'"):
        compare(squares, squares, dwsl, out=tmp_path, methods=("dswl",))
    with pytest.raises(ValueError, match=r"weight\.method=dwsl"):
        compare(squares, squares, recipe, out=tmp_path, methods=("dwsl",))


@pytest.mark.slow
def test_worker_processes_change_no_number(squares_test: Path, dwsl: TrainRecipe, tmp_path: Path):
    samples = make_samples(8, gold_every=2, spoil=0.4, seed=1)
    torch.set_num_threads(1)  # as the processes have it
    results = []
    for workers in (1, 2):
        root = write_dataset(tmp_path / f"train{workers}", samples, name="little")
        out = tmp_path / f"out{workers}"
        methods = ("dwsl", "uniform")
        results.append(
            compare(root, squares_test, dwsl, out=out, methods=methods, seeds=(0,), workers=workers)
        )
    assert results[0] == results[1]


def test_closed_is_the_share_of_the_way_from_the_better_baseline_to_clean_labels():
    def row(method: str, giou: float) -> dict:
        return {"method": method, "giou": giou, "oracle": method == "clean-only"}

    rows = [
        row("uniform", 0.2),
        row("gold-only", 0.3),
        row("gold-only", 0.5),
        row("clean-only", 0.8),
        row("dwsl", 0.7),
    ]
    assert closed(rows) == pytest.approx(
        {"uniform": -0.5, "gold-only": 0.0, "clean-only": 1.0, "dwsl": 0.75}
    )
    assert closed(rows[1:]) == {}
    assert closed([row("uniform", 0.9), *rows[1:]]) == {}
