"""The loop: resumes bit for bit, skips what is not finite, and says so."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from trainer.engine.config import OptimConfig
from trainer.engine.loop import train
from trainer.engine.schedule import learning_rate
from trainer.objectives.protocol import Step


class Numbers:
    """A stand-in for a batch: a few numbers and as many ids."""

    def __init__(self, step: int) -> None:
        self.x = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
        self.ids = ("a", "b", "c", "d")


def squared(model: nn.Module, batch: Numbers, progress: float) -> Step:
    loss = (model(batch.x) - batch.x.sum(1, keepdim=True)).square().mean()
    return Step(total=4 * loss, count=torch.tensor(4.0), parts={"bce": 4 * loss.detach()})


def fresh() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.GELU(), nn.Linear(8, 1))


def run(folder: Path | None, *, ema: float = 0.9, stop_at: int | None = None, objective=squared):
    model = fresh()
    optim = OptimConfig(steps=20, warmup=3, checkpoint_every=5, log_every=1, ema=ema, max_bad_steps=2)  # fmt: skip
    done = train(model, objective=objective, batch_at=Numbers, optim=optim, folder=folder, stop_at=stop_at)  # fmt: skip  # pyright: ignore
    return model, done


def lines(folder: Path) -> list[dict]:
    stored = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "samples_per_s"} for line in stored]


@pytest.mark.parametrize("ema", [0.0, 0.9])
@pytest.mark.parametrize("stop_at", [5, 8, 13])
def test_a_resumed_run_gives_the_bytes_and_the_log_of_an_uninterrupted_one(
    tmp_path: Path, ema: float, stop_at: int
):
    whole, _ = run(tmp_path / "whole", ema=ema)
    run(tmp_path / "parts", ema=ema, stop_at=stop_at)
    resumed, done = run(tmp_path / "parts", ema=ema)
    assert done.resumed_at == stop_at
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
    assert lines(tmp_path / "whole") == lines(tmp_path / "parts")


def test_log_lines_after_the_last_checkpoint_and_a_cut_line_are_walked_again(tmp_path: Path):
    run(tmp_path / "whole")
    run(tmp_path / "parts", stop_at=5)
    with open(tmp_path / "parts" / "log.jsonl", "a") as log:
        log.write('{"step": 6, "loss": 1.0}\n{"step": 7, "lo')
    run(tmp_path / "parts")
    assert lines(tmp_path / "whole") == lines(tmp_path / "parts")


def test_a_step_that_is_not_finite_is_skipped_and_counted(tmp_path: Path):
    def poisoned(model: nn.Module, batch: Numbers, progress: float) -> Step:
        step = squared(model, batch, progress)
        spoil = torch.nan if torch.equal(batch.x, Numbers(4).x) else 1.0
        return Step(total=step.total * spoil, count=step.count, parts=step.parts)

    model, done = run(tmp_path, objective=poisoned)
    assert done.bad_steps == 1
    assert all(bool(torch.isfinite(p).all()) for p in model.parameters())
    assert [line["loss"] for line in lines(tmp_path) if line["step"] == 5] == [None]


def test_too_many_such_steps_end_the_run():
    def broken(model: nn.Module, batch: Numbers, progress: float) -> Step:
        step = squared(model, batch, progress)
        return Step(total=step.total * torch.inf, count=step.count, parts={})

    with pytest.raises(ValueError, match="3 steps had a loss or gradient that is not finite"):
        run(None, objective=broken)


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path):
    run(tmp_path, stop_at=5)
    optim = OptimConfig(steps=20)
    with pytest.raises(ValueError, match="another model"):
        train(nn.Linear(3, 1), objective=squared, batch_at=Numbers, optim=optim, folder=tmp_path)  # pyright: ignore


def test_the_rate_warms_up_and_falls_to_nearly_zero():
    rates = [learning_rate(s, steps=100, peak=0.5, warmup=10) for s in range(100)]
    assert rates.index(max(rates)) in (9, 10)
    assert max(rates) == 0.5
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 1e-3
