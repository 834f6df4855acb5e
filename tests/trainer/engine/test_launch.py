"""Ray Train: the same loop in processes of a cluster; a death costs an interval; what fails is said once."""

import os
import signal
import threading
import time
from functools import partial
from pathlib import Path

import pytest
import torch

from tests.trainer.engine.tiny_training import Numbers, Remembering, lines, numbers_at, run
from trainer.config import TrainRecipe
from trainer.data.share import Share
from trainer.engine.checkpoint import load_checkpoint, newest_step
from trainer.engine.config import RunConfig
from trainer.engine.distributed import World
from trainer.engine.launch import train_on_ray
from trainer.engine.stop import Interrupted
from trainer.fit import fit

pytestmark = [
    pytest.mark.ray,
    # Ray Data's own defaults, set by Ray Train
    pytest.mark.filterwarnings("ignore:`use_.*` is deprecated:DeprecationWarning"),
]


def tiny(world: World, *, folder: Path, dies_at: int | None = None, slow: float = 0.0) -> None:
    """The tiny training; with `dies_at`, process 1 kills itself there, the first time."""
    share = Share(rank=world.rank, world=world.size)

    def batch_at(step: int) -> Numbers:
        mark = folder / "died"
        time.sleep(slow)
        if world.rank == 1 and step == dies_at and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return numbers_at(step, share)

    run(folder, objective=Remembering(), batch_at=batch_at, world=world, clip_norm=1e6)


def failing(world: World) -> None:
    raise ValueError(f"nothing of {world.size} processes can mend this")


def test_a_group_of_ray_gives_the_weights_of_one_process_also_when_a_worker_dies(
    ray_here: None, tmp_path: Path
):
    where = RunConfig(device="cpu", restarts=2)
    for name, dies_at in (("calm", None), ("death", 12)):
        folder = tmp_path / name
        folder.mkdir()
        work = partial(tiny, folder=folder, dies_at=dies_at)
        train_on_ray(work, folder=folder, run=where, workers=2)
    assert (tmp_path / "death" / "died").exists()
    run(tmp_path / "one", objective=Remembering(), clip_norm=1e6)
    states = []
    for name in ("calm", "death", "one"):
        loaded = load_checkpoint(tmp_path / name / "checkpoints")
        assert loaded is not None
        assert loaded[0] == 20
        states.append(loaded[1])
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name
        torch.testing.assert_close(value, states[2][name], rtol=1e-4, atol=1e-6)
    assert lines(tmp_path / "calm") == lines(tmp_path / "death")


def test_sigterm_to_the_driver_lets_the_workers_save(ray_here: None, tmp_path: Path):
    def wait_and_signal() -> None:
        while not (tmp_path / "log.jsonl").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait_and_signal, daemon=True).start()
    work = partial(tiny, folder=tmp_path, slow=0.3)
    with pytest.raises(Interrupted, match="SIGTERM after step") as stop:
        train_on_ray(work, folder=tmp_path, run=RunConfig(device="cpu"), workers=2)
    assert stop.value.exit_code == 143
    assert 0 < stop.value.step == newest_step(tmp_path / "checkpoints") < 20
    assert not (tmp_path / "stop").exists()
    train_on_ray(partial(tiny, folder=tmp_path), folder=tmp_path, run=RunConfig(), workers=1)
    assert newest_step(tmp_path / "checkpoints") == 20


def test_what_a_user_can_mend_comes_out_as_it_was_said(ray_here: None, tmp_path: Path):
    where = RunConfig(device="cpu", restarts=0)
    with pytest.raises(ValueError, match="nothing of 2 processes can mend this"):
        train_on_ray(failing, folder=tmp_path, run=where, workers=2)
    with pytest.raises(ValueError, match="9 workers need as many CPUs; the cluster has 4"):
        train_on_ray(failing, folder=tmp_path, run=where, workers=9)


def test_maskmix_fit_on_ray_gives_the_model_of_one_process(
    ray_here: None, squares: Path, recipe: TrainRecipe, tmp_path: Path
):
    data = recipe.data.model_copy(update={"lanes": 2})
    recipe = recipe.model_copy(update={"data": data, "run": RunConfig(device="cpu")})
    fit(squares, recipe, out=tmp_path / "two", on="ray", workers=2)
    fit(squares, recipe, out=tmp_path / "one")
    one, two = ([line["loss"] for line in lines(tmp_path / name)] for name in ("one", "two"))
    assert one == pytest.approx(two, rel=1e-4)
    assert (tmp_path / "two" / "model.json").exists()
