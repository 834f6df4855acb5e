"""A run: reproducible to the byte, resumable after a kill, and never mixed with another."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from torch import Tensor

from pipeline.sidecar import WEIGHTS, write_sidecar
from trainer.config import TrainRecipe
from trainer.data.guesses import encode_guess, write_guesses
from trainer.data.table import load_table
from trainer.fit import fit

PROGRAM = """
import sys
from pathlib import Path
from trainer.config import TrainRecipe
from trainer.fit import fit
root, recipe, out = sys.argv[1:]
fit(Path(root), TrainRecipe.model_validate_json(Path(recipe).read_text()), out=Path(out))
"""


def with_steps(recipe: TrainRecipe, steps: int) -> TrainRecipe:
    return recipe.model_copy(update={"optim": recipe.optim.model_copy(update={"steps": steps})})


@pytest.mark.slow
def test_two_fits_with_one_seed_give_the_same_bytes_and_another_seed_others(
    squares: Path, recipe: TrainRecipe, tmp_path: Path
):
    runs = [fit(squares, recipe, out=tmp_path / str(i), seed=i // 2) for i in range(3)]
    first, again, other = [(run / "model.safetensors").read_bytes() for run in runs]
    assert first == again
    assert first != other
    assert (runs[0] / "model.json").read_bytes() == (runs[1] / "model.json").read_bytes()
    assert (runs[0] / "run.json").read_bytes() == (runs[1] / "run.json").read_bytes()


def test_a_stopped_run_continued_gives_the_bytes_of_a_whole_one(
    squares: Path, recipe: TrainRecipe, tmp_path: Path
):
    fit(squares, recipe, out=tmp_path / "whole")
    fit(squares, recipe, out=tmp_path / "parts", stop_at=3)
    assert not (tmp_path / "parts" / "model.json").exists()
    fit(squares, recipe, out=tmp_path / "parts")
    for name in ("model.safetensors", "model.json", "run.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()


def test_a_finished_run_is_found_and_left_alone(squares: Path, recipe: TrainRecipe, tmp_path: Path):
    run = fit(squares, recipe, out=tmp_path / "run")
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*") if p.is_file()}
    fit(squares, recipe, out=run)
    assert {p: p.stat().st_mtime_ns for p in run.rglob("*") if p.is_file()} == before


def test_a_folder_of_another_run_is_refused(squares: Path, recipe: TrainRecipe, tmp_path: Path):
    fit(squares, recipe, out=tmp_path / "run", stop_at=1)
    with pytest.raises(ValueError, match=r"another run \(seed: 0\)"):
        fit(squares, recipe, out=tmp_path / "run", seed=1)


def test_a_weighting_that_needs_scores_says_how_to_get_them(
    squares: Path, recipe: TrainRecipe, tmp_path: Path
):
    weight = recipe.weight.model_copy(update={"method": "dwsl"})
    with pytest.raises(ValueError, match="run `maskmix discriminate"):
        fit(squares, recipe.model_copy(update={"weight": weight}), out=tmp_path, sidecar="none")


@pytest.mark.slow
def test_labels_that_are_not_believed_are_learnt_as_the_guesses_have_them(
    squares: Path, recipe: TrainRecipe, tmp_path: Path
):
    table = load_table(squares, size_hw=(16, 24))
    bad = ~table.is_gold & (table.label_iou < 0.5)
    assert bad.sum() > 5
    weight = {
        "method": "dwsl",
        "f": "identity",
        "zero_below": 0.5,
        "correct": 0.75,
        "gold_weight": 0.75,
    }
    correcting = TrainRecipe.model_validate({**recipe.model_dump(), "weight": weight})

    def run(name: str, p_clean: Tensor, drawn: Tensor) -> bytes:
        columns = {
            "sample_id": list(table.ids),
            "p_clean": p_clean.numpy(),
            "weight": [1.0] * 48,
            "fold": [0] * 48,
        }
        write_sidecar(squares, name, pa.table(columns, schema=WEIGHTS))
        chances = zip(table.ids, drawn.float() / 255, strict=True)
        guesses = {sample_id: encode_guess(chance.numpy()) for sample_id, chance in chances}
        write_guesses(squares, sidecar=name, guesses=guesses)
        out = fit(squares, correcting, out=tmp_path / name, sidecar=name)
        assert "guesses_sha256" in json.loads((out / "run.json").read_text())
        return (out / "model.safetensors").read_bytes()

    believed = torch.full((48,), 0.75)
    doubted = torch.where(bad, 0.25, believed)
    plain = run("believed", believed, table.target)
    assert run("doubted", doubted, table.target) == plain, "the guess is the label itself"
    assert run("mended", doubted, 255 - table.target) != plain


def test_the_log_has_the_numbers_that_a_report_draws(
    squares: Path, recipe: TrainRecipe, tmp_path: Path
):
    run = fit(squares, recipe, out=tmp_path / "run", name="mine")
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert set(lines[0]) == {
        "step", "loss", "bce", "dice", "weight_mean", "grad_norm", "lr", "bad_steps", "samples_per_s",
    }  # fmt: skip
    facts = json.loads((run / "run.json").read_text())
    assert (facts["method"], facts["seed"], facts["oracle"]) == ("mine", 0, False)
    assert (facts["samples"], facts["gold"]) == (48, 12)


@pytest.mark.slow
def test_a_killed_process_run_again_gives_the_bytes_of_an_undisturbed_one(
    squares: Path, recipe: TrainRecipe, tmp_path: Path
):
    recipe = with_steps(recipe, 60)
    file = tmp_path / "recipe.json"
    file.write_text(recipe.model_dump_json())
    command = [sys.executable, "-c", PROGRAM, str(squares), str(file), str(tmp_path / "killed")]
    place = {"cwd": Path(__file__).parents[2], "env": {**os.environ, "OMP_NUM_THREADS": "1"}}
    process = subprocess.Popen(command, **place)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "killed" / "checkpoints").glob("*.json")):
        assert process.poll() is None, "finished before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed" / "model.json").exists()
    subprocess.run(command, **place, check=True, timeout=120)
    torch.set_num_threads(1)  # as the processes have it
    fit(squares, recipe, out=tmp_path / "whole")
    for name in ("model.safetensors", "model.json", "run.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes()
