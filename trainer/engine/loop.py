"""One training loop for every objective, on one process, under torchrun and under Ray: batch, loss, gradient, step.

Everything a step needs comes from (seed, step) and the state in the checkpoint, so a killed run continued gives the
bytes of an uninterrupted one (on one machine, with the same threads and processes). An objective gives sums; they are
added over the parts of a batch and over processes and divided once, so the gradient is that of sum(w l) / sum(w) over
the global batch however it was cut. What an objective makes of a batch's samples together it makes of one
part, of all processes where it ranks losses, contrasts or takes the discriminator's loss.

Between log lines and checkpoints no number is read on the host. A step whose loss or gradient is not finite is taken
back by flags on the device (optimiser, average, buffers) and counted there; that there were too many is noticed when
the next line or checkpoint is due.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.lock import held
from trainer.data.batch import Batch
from trainer.data.loader import prefetch
from trainer.engine.averaging import Average
from trainer.engine.batches import moved, parts, samples_of
from trainer.engine.checkpoint import load_checkpoint, save_checkpoint
from trainer.engine.config import OptimConfig, RunConfig
from trainer.engine.distributed import World, choose_device
from trainer.engine.log import Journal
from trainer.engine.memory import Memory
from trainer.engine.optimiser import Optimiser
from trainer.engine.precision import seen_by_objectives
from trainer.engine.schedule import learning_rate
from trainer.engine.state import restore, state_tensors
from trainer.engine.stop import Interrupted, Stop
from trainer.engine.trainee import Trainee, trained
from trainer.objectives.protocol import Step

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
    run: RunConfig | None = None,
    world: World | None = None,
    folder: Path | None = None,
    seed: int = 0,
    stop_at: int | None = None,
) -> Trained:
    """Train `model` in place; it stays on the device it was trained on.

    Args:
        model: its parameters that require a gradient are updated; with `optim.ema` they end as the moving average.
        objective: the loss of a batch.
        batch_at: this process's share of the batch of a step; a pure function.
        optim: steps, rates, intervals.
        run: device, loader, what is shown.
        world: the processes that train together, all of which call this; this one alone when None.
        folder: run folder for log.jsonl and checkpoints, continued where it stands, seen by all processes and written
            by the first; None keeps nothing.
        seed: of what the model itself draws (dropout), anew at each step.
        stop_at: leave early after this many steps, with a checkpoint, as an interrupted run would.

    Raises:
        ValueError: the checkpoints are damaged or of another model, too many steps were not finite, or another process
            trains in the folder.
        Interrupted: SIGTERM or SIGINT came; the state after the last step is saved. Without a folder signals do what
            they always do.
    """
    run = run or RunConfig()
    world = world or World(device=choose_device(run.device))
    end = optim.steps if stop_at is None else min(stop_at, optim.steps)
    with ExitStack() as cleanup:
        if folder is not None and world.leads:
            folder.mkdir(parents=True, exist_ok=True)
            cleanup.enter_context(held(folder, what="being trained"))
        stop = cleanup.enter_context(Stop(file=world.stop_file)) if folder is not None else None
        cuda = [world.device] if world.device.type == "cuda" else []
        cleanup.enter_context(torch.random.fork_rng(devices=cuda))
        training = Training(model, objective, optim=optim, run=run, world=world, seed=seed)
        start = training.resume(folder)
        journal = Journal(
            folder if world.leads else None, start=start or 0, steps=optim.steps, run=run
        )
        cleanup.callback(journal.close)
        batches = prefetch(
            batch_at,
            start=start or 0,
            stop=end,
            workers=run.loader_workers,
            pin=world.device.type == "cuda",
        )
        cleanup.callback(batches.close)
        for step, batch in enumerate(batches, start or 0):
            asked = world.largest(0 if stop is None else stop.asked())
            training.step(step, batch)
            journal.count(samples_of(batch) * world.size)
            signum = asked() if world.size > 1 or stop is None else stop.asked()
            done = step + 1
            logs = done % optim.log_every == 0 or done == optim.steps
            saves = done % optim.checkpoint_every == 0 or done == end or signum != 0
            if logs or saves:
                numbers = training.numbers(step)
                if logs:
                    journal.write(done, numbers)
                if saves and folder is not None:
                    training.save(folder, done)
            if signum and done < optim.steps:
                raise Interrupted(signum, done)
        bad_steps = training.bad_steps()
        if end == optim.steps:
            training.average.put_in_place()
    training.trainee.eval()
    return Trained(steps=max(end, start or 0), bad_steps=bad_steps, resumed_at=start)


class Training:
    """A model, its objective and all that belongs to their training, between two steps."""

    def __init__(
        self,
        model: nn.Module,
        objective: Callable[[Any, Batch, float], Step],
        *,
        optim: OptimConfig,
        run: RunConfig,
        world: World,
        seed: int,
    ) -> None:
        self._optim, self._run, self._world, self._seed = optim, run, world, seed
        layout = torch.channels_last if run.channels_last else torch.preserve_format
        seen = seen_by_objectives(
            model,
            device_type=world.device.type,
            precision=optim.precision,
            compiled=run.compile,
        )
        self.trainee = Trainee(model, objective, seen=seen)
        self.trainee.to(device=world.device, memory_format=layout)  # pyright: ignore[reportCallIssue]
        self.trainee.train()
        parameters = trained(self.trainee)
        self._optimiser = Optimiser(parameters, optim)
        self.average = Average(parameters, decay=optim.ema)
        self._bad = torch.zeros((), device=world.device)
        self._last: dict[str, Tensor] = {}

    def resume(self, folder: Path | None) -> int | None:
        """Take up the newest checkpoint, if there is one; steps done."""
        start = None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            if (state := load_checkpoint(folder / CHECKPOINTS)) is not None:
                start, tensors, bad_steps = state
                restore(self.trainee, self._optimiser, self.average, tensors)
                self._bad.fill_(bad_steps)
        mine = 0 if start is None else start
        most, least = self._world.largest(mine)(), -self._world.largest(-mine)()
        if most != least:
            raise ValueError(
                f"process {self._world.rank} finds a checkpoint of step {mine} in {folder}; the processes' are of "
                f"{least} to {most}: all must see one folder, on a disk that they share"
            )
        self._wrapped = self._world.wrap(self.trainee)
        self._memory = Memory(self.trainee, self._world)
        return start

    def step(self, step: int, batch: Batch) -> None:
        """One step with this process's share of its batch."""
        optim, world = self._optim, self._world
        torch.manual_seed(_mix(self._seed, step, world.rank))
        batch = moved(batch, world.device, channels_last=self._run.channels_last)
        self._memory.keep(getattr(batch, "rows", None))
        self._optimiser.forget_gradients()
        sums: dict[str, Tensor] = {}
        for index, part in enumerate(parts(batch, optim.accumulate)):
            with world.silent(self._wrapped, when=index + 1 < optim.accumulate):
                result: Step = self._wrapped(part, step / optim.steps)
                result.total.backward()
            found = {"total": result.total, "count": result.count, **result.parts}
            for key, value in found.items():
                value = value.detach().float()
                sums[key] = sums[key] + value if key in sums else value
        stacked = torch.stack(list(sums.values()))
        world.add_up(stacked)
        total, count, *rest = stacked.unbind()
        verdict = self._optimiser.step(
            total=total,
            count=count,
            averaged=world.size,
            rate=learning_rate(step, steps=optim.steps, peak=optim.lr, warmup=optim.warmup),
        )
        self.average.update(verdict.counts)
        self._memory.settle(verdict.finite)
        self._bad += (~verdict.finite).float()
        self._last = {"loss": total / count.clamp(min=torch.finfo(torch.float32).tiny)}
        self._last |= {k: v / count for k, v in zip(list(sums)[2:], rest, strict=True)}
        samples = samples_of(batch) * world.size
        self._last |= {"weight_mean": count / samples, "grad_norm": verdict.norm}

    def numbers(self, step: int) -> dict[str, float]:
        """What the log says of the step just taken; the host waits for the device.

        Raises:
            ValueError: too many steps so far were not finite.
        """
        *values, bad = torch.stack([*self._last.values(), self._bad]).tolist()
        self._check(int(bad), step)
        numbers = dict(zip(self._last, values, strict=True))
        optim = self._optim
        numbers["lr"] = learning_rate(step, steps=optim.steps, peak=optim.lr, warmup=optim.warmup)
        numbers["bad_steps"] = int(bad)
        return numbers

    def bad_steps(self) -> int:
        """Steps skipped for a non-finite loss or gradient; the host waits for the device."""
        return int(self._bad)

    def save(self, folder: Path, done: int) -> None:
        """Write a checkpoint after `done` steps; all wait for the first process, which writes it."""
        if self._world.leads:
            tensors = state_tensors(self.trainee, self._optimiser, self.average)
            save_checkpoint(
                folder / CHECKPOINTS, step=done, tensors=tensors, bad_steps=self.bad_steps()
            )
        self._world.meet()

    def _check(self, bad: int, step: int) -> None:
        if bad > self._optim.max_bad_steps:
            raise ValueError(
                f"{bad} steps had a loss or gradient that is not finite (noticed at step {step}); "
                "lower optim.lr, or look for NaN in the data"
            )


def _mix(seed: int, step: int, rank: int) -> int:
    """A seed for each step and process, none near another."""
    mixed = (seed * 1_000_003 + step) * 1_000_003 + rank
    return (mixed * 0x9E3779B97F4A7C15) % (1 << 63)
