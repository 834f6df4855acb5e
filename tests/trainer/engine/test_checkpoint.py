"""Checkpoints are whole or not there, and a damaged one costs one interval."""

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.trainer.engine.tiny_training import run, same
from trainer.engine.checkpoint import load_checkpoint, newest_step, save_checkpoint

ROOT = Path(__file__).parents[3]


def state(value: float) -> dict[str, torch.Tensor]:
    return {"model.w": torch.full((3,), value), "adamw.0.step": torch.tensor(value)}


def test_the_newest_two_are_kept_and_the_newest_is_read(tmp_path: Path):
    assert load_checkpoint(tmp_path) is None
    for step in (2, 4, 6):
        save_checkpoint(tmp_path, step=step, tensors=state(step), bad_steps=1)
    assert sorted(p.name for p in tmp_path.glob("*.json")) == ["step-000004.json", "step-000006.json"]  # fmt: skip
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None
    step, tensors, bad = loaded
    assert (step, bad) == (6, 1)
    assert torch.equal(tensors["model.w"], torch.full((3,), 6.0))


def test_a_flipped_bit_or_a_cut_falls_back_to_the_one_before_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    for step in (2, 4):
        save_checkpoint(tmp_path, step=step, tensors=state(step), bad_steps=0)
    file = tmp_path / "step-000004.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    with caplog.at_level(logging.WARNING):
        loaded = load_checkpoint(tmp_path)
    assert loaded is not None
    assert loaded[0] == 2
    assert "step-000004 is damaged" in caplog.text
    file.unlink()
    assert load_checkpoint(tmp_path) is not None
    (tmp_path / "step-000002.json").write_text("{")
    with pytest.raises(ValueError, match="every checkpoint"):
        load_checkpoint(tmp_path)


def test_tensors_without_a_commit_do_not_exist(tmp_path: Path):
    save_checkpoint(tmp_path, step=2, tensors=state(2), bad_steps=0)
    (tmp_path / "step-000002.json").unlink()
    assert load_checkpoint(tmp_path) is None


def test_a_checkpoint_whose_commit_is_missing_or_cut_or_whose_tensors_are_is_passed_over(
    tmp_path: Path,
):
    def step_after(damage: str) -> int:
        folder = tmp_path / damage
        for step in (2, 4):
            save_checkpoint(folder, step=step, tensors=state(step), bad_steps=0)
        tensors, commit = folder / "step-000004.safetensors", folder / "step-000004.json"
        match damage:
            case "truncated":
                tensors.write_bytes(tensors.read_bytes()[:-9])
            case "no tensors":
                tensors.unlink()
            case "no commit":
                commit.unlink()
            case "empty commit":
                commit.write_bytes(b"")
            case "wrong hash":
                commit.write_text(commit.read_text().replace('"sha256": "', '"sha256": "0'))
        loaded = load_checkpoint(folder)
        assert loaded is not None
        return loaded[0]

    assert step_after("nothing") == 4
    for damage in ("truncated", "no tensors", "no commit", "empty commit", "wrong hash"):
        assert step_after(damage) == 2, damage


def test_a_run_whose_newest_checkpoint_was_damaged_ends_with_the_same_bytes(tmp_path: Path):
    whole, _ = run(tmp_path / "whole")
    run(tmp_path / "parts", stop_at=13)
    newest = tmp_path / "parts" / "checkpoints" / "step-000013.safetensors"
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    resumed, done = run(tmp_path / "parts")
    assert done.resumed_at == 10
    assert same(whole, resumed)
    left = sorted(p.name for p in (tmp_path / "parts" / "checkpoints").iterdir())
    assert left == [f"step-0000{n}.{end}" for n in (15, 20) for end in ("json", "safetensors")]


def test_steps_are_ordered_as_numbers_and_leftovers_go(tmp_path: Path):
    for step in (999_998, 999_999, 1_000_000):
        save_checkpoint(tmp_path, step=step, tensors=state(1), bad_steps=0)
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None
    assert loaded[0] == newest_step(tmp_path) == 1_000_000
    (tmp_path / ".step-000001.json.0a1b.tmp").write_text("{")
    (tmp_path / "step-000001.safetensors").write_bytes(b"half")
    (tmp_path / "mine.txt").write_text("not ours")
    save_checkpoint(tmp_path, step=1_000_001, tensors=state(1), bad_steps=0)
    assert {p.name.partition(".")[0] for p in tmp_path.iterdir()} == {
        "step-1000000", "step-1000001", "mine",
    }  # fmt: skip


DYING = """
import os, signal, sys
from pathlib import Path
import torch
from trainer.engine.checkpoint import save_checkpoint

def save(folder, step):
    save_checkpoint(folder, step=step, tensors={"w": torch.full((1000,), float(step))}, bad_steps=0)

def die(folder, last):
    calls = 0
    def watch(event, args):  # an audit hook hears of every file operation before it is made
        nonlocal calls
        if event in ("open", "os.rename", "os.remove") and str(folder) in str(args[0]):
            calls += 1
            if calls == last:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(watch)
    save(folder, 4)
    save(folder, 6)

for last in map(int, sys.argv[2:]):
    folder = Path(sys.argv[1]) / str(last)
    save(folder, 2)
    if (child := os.fork()) == 0:
        die(folder, last)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.slow
def test_a_kill_at_any_file_operation_of_a_write_leaves_a_whole_checkpoint(tmp_path: Path):
    tries = [str(last) for last in range(1, 17)]
    ended = subprocess.run(
        [sys.executable, "-c", DYING, str(tmp_path), *tries],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, text=True, check=True,
    ).stdout.split()  # fmt: skip
    killed = ended.index("0") if "0" in ended else len(ended)
    assert killed > 10
    assert ended[:killed] == [str(-signal.SIGKILL)] * killed
    found = []
    for last in tries[:killed]:
        loaded = load_checkpoint(tmp_path / last)
        assert loaded is not None
        assert torch.equal(loaded[1]["w"], torch.full((1000,), float(loaded[0])))
        found.append(loaded[0])
    assert found == sorted(found)
    assert set(found) == {2, 4, 6}
