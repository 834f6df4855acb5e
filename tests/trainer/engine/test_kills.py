"""Killed without warning, again and again: the run that is left at the end is the one that nobody disturbed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.trainer.engine.tiny_training import lines
from trainer.config import TrainRecipe

ROOT = Path(__file__).parents[3]
KILLS = 20
STEPS = 120
PROGRAM = """
import json, os, random, signal, sys, time
from pathlib import Path
import maskmix
import trainer.fit, trainer.engine.loop  # once, so that children need not

squares, recipe, out = sys.argv[1:4]
kills, steps = map(int, sys.argv[4:])
chance = random.Random(3)
log = Path(out) / "log.jsonl"

def start(run, workers):
    if (child := os.fork()) == 0:
        sys.argv = ["maskmix", "fit", squares, "--recipe", recipe, "--out", run]
        sys.argv += ["--set", f"run.loader_workers={workers}"]
        maskmix.main()
    return child

def reached(step):
    text = log.read_text() if log.exists() else ""
    return any(json.loads(line)["step"] >= step for line in text.split("\\n")[:-1])

killed = []
for number, step in enumerate(sorted(chance.sample(range(1, steps - 2), kills))):
    child = start(out, 2 if number in (5, 13) else 0)
    while not reached(step) and os.waitpid(child, os.WNOHANG) == (0, 0):
        time.sleep(0.001)
    time.sleep(0.03 * chance.random())
    os.kill(child, signal.SIGKILL)
    killed.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
last = os.waitstatus_to_exitcode(os.waitpid(start(out, 0), 0)[1])
whole = os.waitstatus_to_exitcode(os.waitpid(start(out + "-whole", 0), 0)[1])
print(json.dumps({"killed": killed, "last": last, "whole": whole}))
"""


@pytest.mark.slow
def test_a_fit_killed_at_twenty_random_steps_ends_with_the_bytes_of_an_undisturbed_one(
    squares: Path, recipe: TrainRecipe, tmp_path: Path
):
    optim = {"steps": STEPS, "checkpoint_every": 3, "ema": 0.9, "log_every": 1, "warmup": 5}
    file = tmp_path / "recipe.yaml"
    file.write_text(
        recipe.model_copy(update={"optim": recipe.optim.model_copy(update=optim)}).model_dump_json()
    )
    out = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(squares), str(file), str(out), str(KILLS), str(STEPS)],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, text=True,
        check=True, timeout=500,
    )  # fmt: skip
    told = json.loads(done.stdout.splitlines()[-1])
    assert told == {"killed": [-9] * KILLS, "last": 0, "whole": 0}
    whole = tmp_path / "run-whole"
    for name in ("model.safetensors", "model.json", "run.json"):
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name
    assert lines(out) == lines(whole)
    assert len(lines(out)) == STEPS


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_maskmix_fit_with_its_code_and_a_checkpoint_of_the_last_step(
    squares: Path, recipe: TrainRecipe, tmp_path: Path, signum: signal.Signals, code: int
):
    optim = recipe.optim.model_copy(update={"steps": 5000, "checkpoint_every": 4000})
    file, out = tmp_path / "recipe.yaml", tmp_path / "run"
    file.write_text(recipe.model_copy(update={"optim": optim}).model_dump_json())
    words = ["fit", str(squares), "--recipe", str(file), "--out", str(out)]
    process = subprocess.Popen(
        [sys.executable, "-m", "maskmix", *words], cwd=ROOT, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    while not (out / "log.jsonl").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signum)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    last = lines(out)[-1]["step"]
    assert f"stopped: {signum.name} after step {last}; the state is saved" in errors
    assert (out / "checkpoints" / f"step-{last:06d}.json").exists()
    assert not (out / "model.json").exists()
