"""A training that takes milliseconds: batches of a few numbers, a small net, weighted squares."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainer.data.share import Share
from trainer.engine.config import OptimConfig, RunConfig
from trainer.engine.distributed import World
from trainer.engine.loop import Trained, train
from trainer.objectives.protocol import Step
from trainer.weighting.protocol import Context
from trainer.weighting.small_loss import SmallLoss

SIZE = 12
SAMPLES = 60


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """A batch: x float32 b3, weight float32 b (uneven, some 0), rows int64 b, names."""

    x: Tensor
    weight: Tensor
    rows: Tensor
    ids: tuple[str, ...]


def numbers_at(step: int, share: Share = Share()) -> Numbers:  # noqa: B008 - frozen
    """The share of a global batch of `SIZE`, a pure function of the step."""
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(SIZE, 3, generator=generator)
    weight = torch.rand(SIZE, generator=generator).mul(4).floor() / 2
    rows = torch.randperm(SAMPLES, generator=generator)[:SIZE]
    own = list(share.of(SIZE))
    return Numbers(
        x=x[own],
        weight=weight[own],
        rows=rows[own],
        ids=tuple(str(row) for row in rows[own].tolist()),
    )


def squared(model: nn.Module, batch: Numbers, progress: float) -> Step:
    """Weighted squares of what the net says of x minus the sum of x."""
    loss = (model(batch.x)[:, 0] - batch.x.sum(1)).square()
    total = (batch.weight * loss).sum()
    return Step(total=total, count=batch.weight.sum(), parts={"bce": total.detach()})


class Remembering(nn.Module):
    """Squares with a learnt offset, a memory for every sample and a count of steps."""

    row_buffers = ("losses",)
    losses: Tensor
    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.zeros(1))
        self.register_buffer("losses", torch.zeros(SAMPLES))
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("constant", torch.ones(2))

    def forward(self, model: nn.Module, batch: Numbers, progress: float) -> Step:
        loss = (model(batch.x)[:, 0] + self.offset - batch.x.sum(1)).square()
        self.losses[batch.rows] = 0.5 * self.losses[batch.rows] + 0.5 * loss.detach()
        self.calls += 1
        weight = batch.weight / (1.0 + self.losses[batch.rows])
        total = (weight * loss).sum()
        return Step(total=total, count=weight.sum(), parts={"bce": total.detach()})


class Choosing:
    """Squares of the half of a batch, of all processes, whose squares are smallest."""

    def __init__(self, world: World | None = None) -> None:
        self.weigher = SmallLoss(noise_rate=0.5, warmup=0.2, world=world)

    def __call__(self, model: nn.Module, batch: Numbers, progress: float) -> Step:
        loss = (model(batch.x)[:, 0] - batch.x.sum(1)).square()
        known = torch.ones_like(batch.weight)
        context = Context(
            p_clean=known,
            weight=known,
            is_gold=batch.x[:, 0] > 1.0,
            rows=batch.rows,
            disagree=known.bool(),
            progress=progress,
        )
        weight = self.weigher(loss.detach()[None], context)[0]
        total = (weight * loss).sum()
        return Step(total=total, count=weight.sum(), parts={"bce": total.detach()})


def fresh() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 1))


OPTIM: dict[str, Any] = {
    "steps": 20, "warmup": 3, "checkpoint_every": 5, "log_every": 1, "ema": 0.9, "max_bad_steps": 2,
}  # fmt: skip


def run(
    folder: Path | None = None,
    *,
    model: nn.Module | None = None,
    objective: Any = squared,
    batch_at: Any = numbers_at,
    stop_at: int | None = None,
    where: RunConfig | None = None,
    world: World | None = None,
    **optim: Any,
) -> tuple[nn.Module, Trained]:
    """Train the small net, or `model`; keywords go into its OptimConfig."""
    model = model or fresh()
    done = train(
        model,
        objective=objective,
        batch_at=batch_at,
        optim=OptimConfig(**{**OPTIM, **optim}),
        run=where or RunConfig(device="cpu"),
        world=world,
        folder=folder,
        stop_at=stop_at,
    )
    return model, done


def lines(folder: Path) -> list[dict[str, Any]]:
    """The log without what depends on the clock."""
    stored = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "samples_per_s"} for line in stored]


def same(a: nn.Module, b: nn.Module) -> bool:
    """Whether all tensors of two modules are equal bit for bit."""
    return all(
        torch.equal(x, y)
        for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )
