"""Checkpoints are whole or not there, and a damaged one costs one interval."""

import logging
from pathlib import Path

import pytest
import torch

from trainer.engine.checkpoint import load_checkpoint, save_checkpoint


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
