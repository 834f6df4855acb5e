"""One question for every weighting method: how much does each sample of this batch count?

Letters: b samples of the batch, m peers trained side by side on the same batches (one for most methods), n samples of
the dataset.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from torch import Tensor

from trainer.data.protocol import Store
from trainer.engine.distributed import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a weigher may know beside the losses.

    p_clean: float32 b in [0, 1]. weight: float32 b >= 0, of the sidecar. is_gold: bool b. rows: int64 b, the row of
    each sample in the dataset, for methods that remember samples. disagree: bool b, where the peers' masks differ by
    more than the recipe allows (all True with one peer). progress: share of the training done, in [0, 1).
    """

    p_clean: Tensor
    weight: Tensor
    is_gold: Tensor
    rows: Tensor
    disagree: Tensor
    progress: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Known:
    """What a weigher may know before the first step: the whole dataset, its folder, the run's seed and its steps, and
    the processes that train together.
    """

    store: Store
    root: Path
    seed: int
    steps: int
    world: World = field(default_factory=World)


class Weigher(Protocol):
    """Detached per-sample losses of m peers in, weights >= 0 of the same shape out; no gradient flows through.

    Weights of gold are the weigher's business too: every method but DWSL's gives gold the weight 1 unless the recipe
    names another. A weigher that remembers something between steps is an `nn.Module` with buffers, which checkpoints
    hold; whatever it draws, it draws from the run's seed. Nothing is read on the host in a step, unless the file says
    how seldom.

    peers: how many models it needs. reads_losses: whether its weights depend on the losses; where they do not, samples
    of weight 0 are never drawn, since they would cost a forward pass and change nothing.
    """

    peers: int
    reads_losses: bool

    def __call__(self, losses: Tensor, context: Context) -> Tensor:
        """float32 mb -> float32 mb."""
        ...
