"""One plain training loop for every objective: batch, loss, gradient, step; log and checkpoint once in a while.

Everything a step needs comes from (seed, step) and the state in the checkpoint, so a killed run continued gives the
bytes of an uninterrupted one (on one machine, with the same number of threads). A step whose loss or gradient is not
finite is skipped and counted, and too many of them end the run. Only the log knows the time.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.shards import write_atomic
from trainer.data.batch import Batch
from trainer.engine.checkpoint import load_checkpoint, save_checkpoint
from trainer.engine.config import OptimConfig
from trainer.engine.schedule import learning_rate
from trainer.objectives.protocol import Step

LOG_FILE = "log.jsonl"
CHECKPOINTS = "checkpoints"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What a run came to.

    `bad_steps` were skipped for a non-finite loss or gradient; `resumed_at` is None for a fresh run.
    """

    steps: int
    bad_steps: int
    resumed_at: int | None


def train(
    model: nn.Module,
    *,
    objective: Callable[[Any, Batch, float], Step],
    batch_at: Callable[[int], Batch],
    optim: OptimConfig,
    folder: Path | None = None,
    stop_at: int | None = None,
) -> Trained:
    """Train `model` in place.

    Args:
        model: its parameters are updated; with `optim.ema` they end as the moving average.
        objective: the loss of a batch.
        batch_at: the batch of a step; a pure function.
        optim: steps, rates, intervals.
        folder: run folder for log.jsonl and checkpoints, continued where it stands; None keeps nothing.
        stop_at: leave early after this many steps, with a checkpoint, as an interrupted run would.

    Raises:
        ValueError: the checkpoints are damaged or of another model, or too many steps were not finite.
    """
    optimiser = _optimiser(model, optim)
    ema = {n: p.detach().clone() for n, p in model.named_parameters()} if optim.ema else {}
    start, bad_steps, resumed_at = 0, 0, None
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        if (state := load_checkpoint(folder / CHECKPOINTS)) is not None:
            start, tensors, bad_steps = state
            _restore(model, optimiser, ema, tensors)
            resumed_at = start
        _cut_log(folder / LOG_FILE, start)
    model.train()
    clock, done = time.perf_counter(), 0
    end = optim.steps if stop_at is None else min(stop_at, optim.steps)
    for step in range(start, end):
        rate = learning_rate(step, steps=optim.steps, peak=optim.lr, warmup=optim.warmup)
        batch = batch_at(step)
        result = objective(model, batch, step / optim.steps)
        loss = result.total / result.count.clamp(min=torch.finfo(torch.float32).tiny)
        optimiser.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), optim.clip_norm)
        finite = bool(torch.isfinite(loss)) and bool(torch.isfinite(norm))
        if finite:
            for group in optimiser.param_groups:
                group["lr"] = rate
            optimiser.step()
            _average(ema, model, optim.ema)
        else:
            bad_steps += 1
            if bad_steps > optim.max_bad_steps:
                raise ValueError(
                    f"{bad_steps} steps had a loss or gradient that is not finite (last at step {step}); "
                    "lower optim.lr, or look for NaN in the data"
                )
        done += len(batch.ids)
        if folder is not None and ((step + 1) % optim.log_every == 0 or step + 1 == optim.steps):
            line: dict[str, Any] = {"step": step + 1, "loss": _number(float(loss.detach()))}
            line |= {k: _number(float(v / result.count)) for k, v in result.parts.items()}
            line["weight_mean"] = float(result.count) / len(batch.ids)
            line |= {"grad_norm": _number(float(norm)), "lr": rate, "bad_steps": bad_steps}
            line["samples_per_s"] = round(done / max(1e-9, time.perf_counter() - clock), 1)
            with open(folder / LOG_FILE, "a") as log:
                log.write(json.dumps(line) + "\n")
            clock, done = time.perf_counter(), 0
        if folder is not None and ((step + 1) % optim.checkpoint_every == 0 or step + 1 == end):
            tensors = _state(model, optimiser, ema)
            save_checkpoint(
                folder / CHECKPOINTS, step=step + 1, tensors=tensors, bad_steps=bad_steps
            )
    if ema and end == optim.steps:
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(ema[name])
    model.eval()
    return Trained(steps=end, bad_steps=bad_steps, resumed_at=resumed_at)


def _optimiser(model: nn.Module, optim: OptimConfig) -> torch.optim.AdamW:
    """AdamW; biases, norms and embeddings (all but matrices and kernels) are not decayed."""
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    plain = [p for p in model.parameters() if p.ndim < 2]
    groups = [
        {"params": decayed, "weight_decay": optim.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=optim.lr, betas=(0.9, 0.98))


def _state(
    model: nn.Module, optimiser: torch.optim.AdamW, ema: dict[str, Tensor]
) -> dict[str, Tensor]:
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"ema.{name}": value for name, value in ema.items()}
    for index, moments in optimiser.state_dict()["state"].items():
        for name, value in moments.items():
            tensors[f"adamw.{index}.{name}"] = torch.as_tensor(value)
    return tensors


def _restore(
    model: nn.Module,
    optimiser: torch.optim.AdamW,
    ema: dict[str, Tensor],
    tensors: dict[str, Tensor],
) -> None:
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "ema": {}, "adamw": {}}
    for name, value in tensors.items():
        kind, _, rest = name.partition(".")
        parts[kind][rest] = value
    try:
        model.load_state_dict(parts["model"])
    except RuntimeError as error:
        raise ValueError(
            f"the checkpoint is of another model; use another run folder: {error}"
        ) from error
    for name in ema:
        ema[name].copy_(parts["ema"][name])
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in parts["adamw"].items():
        index, _, moment = name.partition(".")
        moments.setdefault(int(index), {})[moment] = value
    optimiser.load_state_dict({**optimiser.state_dict(), "state": moments})


@torch.no_grad()
def _average(ema: dict[str, Tensor], model: nn.Module, decay: float) -> None:
    if ema:
        for name, parameter in model.named_parameters():
            ema[name].lerp_(parameter.detach(), 1.0 - decay)


def _cut_log(path: Path, step: int) -> None:
    """Drop log lines of steps after `step`: they will be walked again."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, KeyError):
            continue  # a line cut by a kill
    write_atomic(path, "".join(kept).encode())


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
