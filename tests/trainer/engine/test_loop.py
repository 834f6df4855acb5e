"""The loop: resumes bit for bit, cuts batches without changing anything, skips what is not finite, never waits."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.lock import LOCK, held
from tests.trainer.engine.tiny_training import (
    Numbers,
    Remembering,
    fresh,
    lines,
    numbers_at,
    run,
    same,
    squared,
)
from trainer.engine.checkpoint import load_checkpoint
from trainer.engine.schedule import learning_rate
from trainer.objectives.protocol import Step


@pytest.mark.parametrize("ema", [0.0, 0.9])
@pytest.mark.parametrize("stop_at", [5, 8, 13])
def test_a_resumed_run_gives_the_bytes_and_the_log_of_an_uninterrupted_one(
    tmp_path: Path, ema: float, stop_at: int
):
    whole, _ = run(tmp_path / "whole", ema=ema)
    run(tmp_path / "parts", ema=ema, stop_at=stop_at)
    resumed, done = run(tmp_path / "parts", ema=ema)
    assert done.resumed_at == stop_at
    assert same(whole, resumed)
    assert lines(tmp_path / "whole") == lines(tmp_path / "parts")


def test_what_an_objective_learns_and_remembers_is_resumed_too(tmp_path: Path):
    whole, parts = Remembering(), Remembering()
    model, _ = run(tmp_path / "whole", objective=whole)
    run(tmp_path / "parts", objective=Remembering(), stop_at=8)
    resumed, _ = run(tmp_path / "parts", objective=parts)
    assert same(model, resumed)
    assert same(whole, parts)
    assert bool(whole.offset.detach().abs().sum() > 0)
    assert float(whole.calls) == 20


def test_dropout_draws_the_same_after_a_resume(tmp_path: Path):
    def dropping() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 1))

    whole, _ = run(tmp_path / "whole", model=dropping())
    run(tmp_path / "parts", model=dropping(), stop_at=8)
    torch.rand(7)
    assert same(whole, run(tmp_path / "parts", model=dropping())[0])


def test_training_leaves_torchs_generator_as_it_was():
    model = fresh()
    torch.manual_seed(5)
    run(model=model)
    after = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(after, torch.rand(3))


def test_log_lines_after_the_last_checkpoint_and_a_cut_line_are_walked_again(tmp_path: Path):
    run(tmp_path / "whole")
    run(tmp_path / "parts", stop_at=5)
    with open(tmp_path / "parts" / "log.jsonl", "a") as log:
        log.write('{"step": 6, "loss": 1.0}\n{"step": 7, "lo')
    run(tmp_path / "parts")
    assert lines(tmp_path / "whole") == lines(tmp_path / "parts")


@pytest.mark.parametrize("accumulate", [2, 3, 12])
def test_a_batch_in_parts_is_the_whole_batch_up_to_rounding(tmp_path: Path, accumulate: int):
    # without clipping and with uneven weights: dividing each part by its own count would show
    whole, _ = run(tmp_path / "whole", clip_norm=1e6)
    parts, _ = run(tmp_path / "parts", clip_norm=1e6, accumulate=accumulate)
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    for a, b in zip(lines(tmp_path / "whole"), lines(tmp_path / "parts"), strict=True):
        assert a == pytest.approx(b, rel=1e-4)


def test_a_batch_that_does_not_divide_into_the_parts_is_refused():
    with pytest.raises(ValueError, match=r"accumulate is 5 and a process has 12 samples"):
        run(accumulate=5)


def test_the_gradient_is_that_of_the_weighted_mean(tmp_path: Path):
    batch, model = numbers_at(0), fresh()
    loss = (model(batch.x)[:, 0] - batch.x.sum(1)).square()
    mean = (batch.weight * loss).sum() / batch.weight.sum()
    grads = torch.autograd.grad(mean, list(model.parameters()))
    run(tmp_path, stop_at=1)
    line = lines(tmp_path)[0]
    assert line["loss"] == pytest.approx(float(mean.detach()), rel=1e-5)
    assert line["grad_norm"] == pytest.approx(
        float(torch.stack([g.norm() for g in grads]).norm()), rel=1e-5
    )
    assert line["weight_mean"] == pytest.approx(float(batch.weight.mean()), rel=1e-6)


def test_a_step_without_any_weight_changes_nothing_and_is_no_bad_step():
    model, done = run(batch_at=unweighted, ema=0.0)
    assert same(model, fresh())
    assert done.bad_steps == 0


def unweighted(step: int) -> Numbers:
    batch = numbers_at(step)
    return Numbers(x=batch.x, weight=0 * batch.weight, rows=batch.rows, ids=batch.ids)


def test_frozen_parameters_are_not_trained_averaged_or_saved(tmp_path: Path):
    model = fresh()
    for parameter in model[0].parameters():  # type: ignore[index]
        parameter.requires_grad_(False)
    run(tmp_path, model=model)
    assert torch.equal(model[0].weight, fresh()[0].weight)  # type: ignore[index]
    assert not torch.equal(model[3].weight, fresh()[3].weight)  # type: ignore[index]
    loaded = load_checkpoint(tmp_path / "checkpoints")
    assert loaded is not None
    assert {name for name in loaded[1] if ".0." in name} == set()
    assert {"model.3.weight", "ema.model.3.weight", "adamw.model.3.weight.exp_avg"} <= set(
        loaded[1]
    )


class Spoilt(Remembering):
    """Remembers as always, and spoils the loss (or only its gradient) of some steps."""

    def __init__(self, steps: set[int], *, gradient_only: bool) -> None:
        super().__init__()
        self.spoilt = [numbers_at(step).x for step in steps]
        self.gradient_only = gradient_only

    def forward(self, model: nn.Module, batch: Numbers, progress: float) -> Step:
        step = super().forward(model, batch, progress)
        if not any(torch.equal(batch.x, x) for x in self.spoilt):
            return step
        if self.gradient_only:  # sqrt(0) is 0 and its slope is not finite
            return Step(
                total=step.total + (0 * self.offset).abs().sum().sqrt(),
                count=step.count,
                parts=step.parts,
            )
        self.losses += torch.nan  # beyond the rows of the batch too, as a broken memory would
        return Step(total=step.total * torch.nan, count=step.count, parts=step.parts)


@pytest.mark.parametrize("gradient_only", [False, True])
def test_a_step_that_is_not_finite_is_skipped_and_counted_and_leaves_no_trace(
    tmp_path: Path, gradient_only: bool
):
    objective = Spoilt({19}, gradient_only=gradient_only)
    if not gradient_only:
        objective.row_buffers = ()  # its memory is written everywhere
    _, done = run(tmp_path, objective=objective)
    untouched = Remembering()
    expected, _ = run(objective=untouched, stop_at=19)
    assert done.bad_steps == 1
    last = lines(tmp_path)[-1]
    assert (last["step"], last["bad_steps"]) == (20, 1)
    assert (last["loss"] is None) == (not gradient_only)
    assert last["grad_norm"] is None
    for name in ("losses", "calls"):
        assert torch.equal(getattr(objective, name), getattr(untouched, name)), name
    state = load_checkpoint(tmp_path / "checkpoints")
    assert state is not None
    for name, parameter in expected.named_parameters():
        assert torch.equal(state[1][f"model.{name}"], parameter)
        assert float(state[1][f"adamw.model.{name}.step"]) == 19


def test_a_skipped_step_in_the_middle_is_as_if_it_had_not_been(tmp_path: Path):
    model, done = run(tmp_path, objective=Spoilt({4, 9}, gradient_only=True))
    assert done.bad_steps == 2
    assert all(bool(torch.isfinite(p).all()) for p in model.parameters())
    assert [line["bad_steps"] for line in lines(tmp_path)][3:11] == [0, 1, 1, 1, 1, 1, 2, 2]


def broken(model: nn.Module, batch: Numbers, progress: float) -> Step:
    step = squared(model, batch, progress)
    return Step(total=step.total * torch.inf, count=step.count, parts={})


def test_too_many_such_steps_end_the_run_when_a_line_is_due():
    with pytest.raises(ValueError, match="3 steps had a loss or gradient that is not finite"):
        run(objective=broken)
    with pytest.raises(ValueError, match=r"7 steps had .* \(noticed at step 6\)"):
        run(objective=broken, log_every=7, checkpoint_every=20)


class NoWaiting(TorchDispatchMode):
    """Raises where the host reads a number of the device, or must know how many there are."""

    FORBIDDEN = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal")

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen += 1
        name = func.overloadpacket.__name__
        assert name not in self.FORBIDDEN, f"the host waits for {name}"
        return func(*args, **(kwargs or {}))


class Watching(nn.Module):
    """Turns `NoWaiting` on in the first step and off in the eighth; the loop's own work between them is watched too."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner
        self.mode = NoWaiting()
        self.calls = 0

    def forward(self, model: nn.Module, batch: Any, progress: float) -> Step:
        self.calls += 1
        if self.calls == 1:
            self.mode.__enter__()
        if self.calls == 8:
            self.mode.__exit__(None, None, None)
        return self.inner(model, batch, progress)


def test_between_log_lines_the_host_reads_no_number(tmp_path: Path):
    watching = Watching(Remembering())
    _, done = run(tmp_path, objective=watching, log_every=10, checkpoint_every=10)
    assert watching.calls == done.steps == 20
    assert watching.mode.seen > 7 * 50


def test_a_read_number_would_be_noticed(tmp_path: Path):
    def reading(model: nn.Module, batch: Numbers, progress: float) -> Step:
        step = squared(model, batch, progress)
        float(step.count)
        return step

    watching = Watching(reading)
    try:
        with pytest.raises(AssertionError, match="waits for _local_scalar_dense"):
            run(tmp_path, objective=watching)
    finally:
        watching.mode.__exit__(None, None, None)


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path):
    run(tmp_path, stop_at=5)
    with pytest.raises(ValueError, match="another model"):
        run(tmp_path, model=nn.Linear(3, 1))
    with pytest.raises(ValueError, match=r"4 tensors differ, model\.3\.weight"):
        run(tmp_path, model=nn.Sequential(nn.Linear(3, 8), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 2)))  # fmt: skip


def test_the_rate_warms_up_and_falls_to_nearly_zero():
    rates = [learning_rate(s, steps=100, peak=0.5, warmup=10) for s in range(100)]
    assert rates.index(max(rates)) in (9, 10)
    assert max(rates) == 0.5
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 1e-3


def test_no_tensor_of_the_state_is_shared_with_the_caller(tmp_path: Path):
    model, _ = run(tmp_path, ema=0.9)
    state = load_checkpoint(tmp_path / "checkpoints")
    assert state is not None
    average: Tensor = state[1]["ema.model.0.weight"]
    assert torch.equal(dict(model.named_parameters())["0.weight"], average)


def test_a_folder_that_another_training_holds_is_left_alone(tmp_path: Path):
    with (
        held(tmp_path, what="busy"),
        pytest.raises(ValueError, match="is being trained by another"),
    ):
        run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [LOCK], "nothing was written"
    run(tmp_path)
    assert (tmp_path / "log.jsonl").exists()
