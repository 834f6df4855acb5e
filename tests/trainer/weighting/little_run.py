"""A few steps of any method on the squares, without a run folder's files."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import torch
from torch import Tensor, nn

from pipeline.sidecar import write_sidecar
from trainer.compare import with_changes
from trainer.config import TrainRecipe
from trainer.data.sampler import Sampler
from trainer.data.table import Table, load_table
from trainer.data.tokens import learn_tokenizer
from trainer.engine.loop import train
from trainer.methods import METHODS
from trainer.models.peers import Peers
from trainer.models.registry import build_model
from trainer.models.saved_model import seeded
from trainer.objectives.hiding import Hiding
from trainer.objectives.joint import Joint
from trainer.objectives.registry import make_objective
from trainer.objectives.segmentation import Segmentation
from trainer.weighting.protocol import Context, Known, Weigher
from trainer.weighting.registry import make_weigher


@dataclass(frozen=True, kw_only=True)
class Run:
    """One method on one dataset; `table` may hold scores."""

    root: Path
    table: Table
    recipe: TrainRecipe
    method: str

    def train(
        self,
        *,
        folder: Path | None = None,
        stop_at: int | None = None,
        spy: Callable[[Weigher], nn.Module] | None = None,
    ) -> tuple[nn.Module, Segmentation | Joint | Hiding]:
        """The trained model (the first peer) and its objective; `spy` may stand around the weigher."""
        recipe = with_changes(self.recipe, METHODS[self.method])
        words = [text for texts in self.table.instructions for text in texts]
        tokenizer = learn_tokenizer(words)
        steps = recipe.optim.steps
        known = Known(store=self.table, root=self.root, seed=0, steps=steps)
        weigher = make_weigher(recipe.weight, known)
        drawn = torch.ones(len(self.table), dtype=torch.bool)
        sampler = Sampler(
            table=self.table, tokenizer=tokenizer, config=recipe.data, seed=0, drawn=drawn
        )
        with seeded(0):
            size_hw = recipe.data.size_hw
            peers = [
                build_model(recipe.model, tokenizer, size_hw=size_hw) for _ in range(weigher.peers)
            ]
            objective = make_objective(
                recipe, weigher=weigher, model=peers[0], samples=len(self.table)
            )
        if spy is not None:
            watched = spy(weigher)
            if isinstance(weigher, nn.Module):
                objective.weigher = watched  # pyright: ignore
            else:
                del objective.weigher
                objective.weigher = watched  # pyright: ignore
        train(
            peers[0] if len(peers) == 1 else Peers(peers),
            objective=objective,
            batch_at=sampler.batch_at,
            optim=recipe.optim,
            folder=folder,
            stop_at=stop_at,
        )
        return peers[0], objective


class Spy(nn.Module):
    """Notes what a weigher gave each row from some progress on."""

    def __init__(self, weigher: Weigher, *, samples: int, since: float) -> None:
        super().__init__()
        self.inner = weigher
        self.peers, self.reads_losses = weigher.peers, weigher.reads_losses
        self.since = since
        self.total, self.times = torch.zeros(samples), torch.zeros(samples)

    def forward(self, losses: Tensor, context: Context) -> Tensor:
        weights = self.inner(losses, context)
        if context.progress >= self.since:
            self.total.index_add_(0, context.rows, weights.mean(0))
            self.times.index_add_(0, context.rows, torch.ones(len(context.rows)))
        return weights


def scored(root: Path, *, size_hw: tuple[int, int] = (16, 24)) -> Table:
    """The squares with a p_clean that knows a little, and a sidecar of issues that is right about half of them."""
    table = load_table(root, size_hw=size_hw)
    good = (table.label_iou >= 0.5).float()
    p_clean = 0.3 + 0.4 * good + 0.2 * torch.linspace(0, 1, len(table))
    issue = [bool(i % 2) and not bool(g) for i, g in enumerate(good)]
    columns = pa.table({"sample_id": list(table.ids), "is_issue": issue})
    write_sidecar(root, "confident", columns)
    return replace(table, p_clean=p_clean, weight=p_clean)
