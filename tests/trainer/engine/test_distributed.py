"""Two processes give what one gives: torchrun over gloo on this machine, the same loop, equal global batches."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.trainer.engine.tiny_training import Choosing, Remembering, lines, run
from trainer.config import TrainRecipe
from trainer.engine.checkpoint import load_checkpoint
from trainer.engine.distributed import choose_device, joined
from trainer.fit import fit

ROOT = Path(__file__).parents[3]
TOLERANCE = {"rtol": 1e-4, "atol": 1e-6}
"""Two processes add the same numbers in another order; AdamW makes a little more of it in 20 steps."""

PROGRAM = """
import sys
from functools import partial
from pathlib import Path
from tests.trainer.engine.tiny_training import Choosing, Remembering, numbers_at, run
from tests.trainer.engine.test_loop import Spoilt
from trainer.data.share import Share
from trainer.engine.distributed import joined

out = Path(sys.argv[1])
with joined("cpu") as world:
    batch_at = partial(numbers_at, share=Share(rank=world.rank, world=world.size))
    go = partial(run, batch_at=batch_at, world=world, clip_norm=1e6)
    go(out / "plain")
    go(out / "accumulated", accumulate=3)
    go(out / "remembered", objective=Remembering())
    go(out / "chosen", objective=Choosing(world))
    go(out / "stopped", objective=Remembering(), stop_at=8)
    go(out / "stopped", objective=Remembering())
    # only one process meets the step that is not finite
    spoilt = {4, 9} if world.rank else set()
    _, done = go(out / "spoilt", objective=SpoiltShare(spoilt, world))
    print(f"{world.rank} {done.bad_steps}\\n", end="", flush=True)  # in one piece: both write to one pipe
""".replace(
    "out = Path",
    """
class SpoiltShare(Spoilt):
    def __init__(self, steps, world):
        super().__init__(steps, gradient_only=True)
        share = Share(rank=world.rank, world=world.size)
        self.spoilt = [numbers_at(step, share).x for step in steps]

out = Path""",
)


def torchrun(*words: str, **options: object) -> subprocess.Popen[str]:
    """Two processes that meet on loopback."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
        "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", "--local-addr", "127.0.0.1", *words,
    ]  # fmt: skip
    return subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )  # type: ignore[call-overload]  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "program.py").write_text(PROGRAM)
    env_path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = env_path
    try:
        process = torchrun(str(folder / "program.py"), str(folder))
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    said, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-3000:]
    (folder / "said").write_text(said)
    return folder


def state(folder: Path) -> dict[str, torch.Tensor]:
    loaded = load_checkpoint(folder / "checkpoints")
    assert loaded is not None
    assert loaded[0] == 20
    return loaded[1]


def near(a: Path, b: Path) -> None:
    """Parameters, moments, averages and memories, and the log, apart from the last bits."""
    one, two = state(a), state(b)
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, two[name], **TOLERANCE, msg=lambda m, n=name: f"{n}: {m}")
    for x, y in zip(lines(a), lines(b), strict=True):
        assert x == pytest.approx(y, rel=1e-3)


@pytest.mark.slow
def test_two_processes_give_the_weights_of_one_whatever_the_weights_of_samples(
    trained: Path, tmp_path: Path
):
    run(tmp_path, clip_norm=1e6)
    near(tmp_path, trained / "plain")


@pytest.mark.slow
def test_two_processes_that_accumulate_give_the_weights_of_one(trained: Path, tmp_path: Path):
    run(tmp_path, clip_norm=1e6)
    near(tmp_path, trained / "accumulated")


@pytest.mark.slow
def test_processes_share_what_an_objective_remembers_of_samples(trained: Path, tmp_path: Path):
    run(tmp_path, objective=Remembering(), clip_norm=1e6)
    near(tmp_path, trained / "remembered")


@pytest.mark.slow
def test_processes_rank_the_losses_of_a_batch_together(trained: Path, tmp_path: Path):
    run(tmp_path, objective=Choosing(), clip_norm=1e6)
    near(tmp_path, trained / "chosen")


@pytest.mark.slow
def test_two_processes_stopped_and_continued_give_their_own_bytes(trained: Path):
    whole, parts = state(trained / "remembered"), state(trained / "stopped")
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())
    assert lines(trained / "remembered") == lines(trained / "stopped")


@pytest.mark.slow
def test_a_step_that_is_not_finite_on_one_process_is_skipped_by_all(trained: Path):
    assert sorted((trained / "said").read_text().split("\n")) == ["", "0 2", "1 2"]
    assert [line["bad_steps"] for line in lines(trained / "spoilt")][3:10] == [0, 1, 1, 1, 1, 1, 2]
    assert all(bool(t.isfinite().all()) for t in state(trained / "spoilt").values())


def fit_words(squares: Path, recipe: TrainRecipe, out: Path) -> list[str]:
    file = out.parent / f"{out.name}.yaml"
    file.write_text(recipe.model_dump_json())
    words = ["-m", "maskmix", "fit", str(squares), "--recipe", str(file), "--out", str(out)]
    return [*words, "--set", "run.device=cpu"]


@pytest.mark.slow
def test_maskmix_fit_under_torchrun_gives_the_model_of_one_process(
    squares: Path, recipe: TrainRecipe, tmp_path: Path
):
    data = recipe.data.model_copy(update={"lanes": 2})  # or the order is another for two
    recipe = recipe.model_copy(update={"data": data})
    process = torchrun(*fit_words(squares, recipe, tmp_path / "two"))
    said, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-3000:]
    assert said.count("trained ") == 1
    fit(squares, recipe, out=tmp_path / "one")
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    for name, value in one.items():
        # AdamW makes whole steps (of 2e-3 here) of gradients that are next to nothing; another order gives 1e-2
        torch.testing.assert_close(value, two[name], rtol=1e-3, atol=5e-4)
    logs = [
        [json.loads(line)["loss"] for line in (tmp_path / n / "log.jsonl").read_text().splitlines()]
        for n in ("one", "two")
    ]
    assert logs[0] == pytest.approx(logs[1], rel=1e-4)


@pytest.mark.slow
def test_a_signal_to_one_process_stops_all_of_them_at_one_step_and_the_run_goes_on(
    squares: Path, recipe: TrainRecipe, tmp_path: Path
):
    import psutil

    recipe = recipe.model_copy(update={"optim": recipe.optim.model_copy(update={"steps": 3000})})
    out = tmp_path / "run"
    process = torchrun(*fit_words(squares, recipe, out))
    deadline = time.monotonic() + 120
    while not (out / "log.jsonl").exists():
        assert process.poll() is None, process.communicate()[1][-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    ranks = [p for p in psutil.Process(process.pid).children() if "maskmix" in p.cmdline()]
    assert len(ranks) == 2
    ranks[1].send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    # both write to one pipe, where two lines can run together
    stopped = re.findall(r"stopped: SIGTERM after step (\d+);", errors)
    assert len(stopped) == 2, errors[-3000:]
    assert stopped[0] == stopped[1]
    assert "exitcode  : 143" in errors
    loaded = load_checkpoint(out / "checkpoints")
    assert loaded is not None
    assert loaded[0] == int(stopped[0])
    assert json.loads((out / "run.json").read_text())["lanes"] == 2
    fit(squares, recipe, out=out, stop_at=loaded[0] + 2)
    after = load_checkpoint(out / "checkpoints")
    assert after is not None
    assert after[0] == loaded[0] + 2


@pytest.mark.slow
def test_a_run_that_one_process_began_is_not_dealt_anew_to_two(
    squares: Path, recipe: TrainRecipe, tmp_path: Path
):
    """With other lanes the rest of an epoch would miss samples and repeat others."""
    fit(squares, recipe, out=tmp_path / "run", stop_at=1)
    process = torchrun(*fit_words(squares, recipe, tmp_path / "run"))
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "was begun by 1 process(es)" in errors
    assert "data.lanes=2" in errors


def test_without_a_launcher_a_process_is_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RANK", "3")  # as other schedulers set it, with nobody to meet
    with joined("cpu") as world:
        assert (world.rank, world.size, world.leads) == (0, 1, True)


def test_a_gpu_that_is_not_there_is_an_error_and_auto_takes_what_there_is():
    seen = torch.cuda.device_count()
    assert choose_device("auto").type == ("cuda" if seen else "cpu")
    with pytest.raises(ValueError, match=f"torch sees {seen} GPUs"):
        choose_device("cuda", local_rank=seen)
