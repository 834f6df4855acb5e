"""One question for every weighting method: how much does each sample of this batch count?"""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a weigher may know beside the losses: p_clean float32 b in [0, 1], weight float32 b >= 0, is_gold bool b."""

    p_clean: Tensor
    weight: Tensor
    is_gold: Tensor


class Weigher(Protocol):
    """Detached per-sample losses b and their context in, weights b >= 0 out; no gradient flows through a weigher."""

    def __call__(self, losses: Tensor, context: Context) -> Tensor: ...
