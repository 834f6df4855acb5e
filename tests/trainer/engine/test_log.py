"""The log: the keys that a report reads, events that TensorBoard reads, a line that a person reads."""

import io
import math
from pathlib import Path

import pytest

from tests.trainer.engine.tiny_training import lines, run
from trainer.engine.config import RunConfig
from trainer.engine.log import Journal, progress_line


def test_a_line_has_the_agreed_keys_and_null_for_what_is_not_finite(tmp_path: Path):
    journal = Journal(tmp_path, start=0, steps=10, run=RunConfig())
    journal.count(12)
    journal.write(1, {"loss": math.nan, "bad_steps": 1})
    journal.close()
    assert lines(tmp_path) == [{"step": 1, "loss": None, "bad_steps": 1}]
    run(tmp_path / "run", steps=2)
    assert list(lines(tmp_path / "run")[0]) == [
        "step", "loss", "bce", "weight_mean", "grad_norm", "lr", "bad_steps",
    ]  # fmt: skip


def test_progress_is_shown_when_asked_for_or_at_a_terminal():
    line = progress_line(30, 60, {"loss": 0.5, "lr": 0.1, "bad_steps": 2}, rate=81.23, left=3723.4)
    assert line == "step 30/60 (50 %)  loss 0.5000  2 skipped  81.2 samples/s  1:02:03 left"


@pytest.mark.parametrize(
    ("progress", "terminal", "shown"),
    [(None, False, False), (None, True, True), (True, False, True), (False, True, False)],
)
def test_progress_goes_to_a_terminal_unless_told_otherwise(
    tmp_path: Path, progress: bool | None, terminal: bool, shown: bool
):
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return terminal

    screen = Screen()
    journal = Journal(tmp_path, start=0, steps=10, run=RunConfig(progress=progress), stream=screen)
    journal.write(5, {"loss": 0.25})
    journal.close()
    assert ("step 5/10 (50 %)  loss 0.2500" in screen.getvalue()) == shown
    assert ("\r" in screen.getvalue()) == (shown and terminal)


@pytest.mark.slow
def test_tensorboard_reads_the_numbers_of_a_stopped_and_continued_run_once_each(tmp_path: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    where = RunConfig(device="cpu", tensorboard=True)
    run(tmp_path, where=where, stop_at=8, checkpoint_every=5)
    for name in ("step-000008.json", "step-000008.safetensors"):  # as if the last were lost
        (tmp_path / "checkpoints" / name).unlink()
    run(tmp_path, where=where)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    scalars = events.Scalars("loss")
    assert [event.step for event in scalars] == list(range(1, 21))
    logged = [line["loss"] for line in lines(tmp_path)]
    assert [event.value for event in scalars] == pytest.approx(logged)
    assert "samples_per_s" in events.Tags()["scalars"]
