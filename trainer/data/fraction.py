"""Learning from few photographs: a share of a dataset that is the same for every seed and method.

Photographs stand in the order of a hash, and the first of them are learnt from: so their number is exact, a smaller
share is part of every larger one, and all samples of a photograph go together. Gold has no part in the choice, or
methods that are told more gold (upper bounds) would learn from other photographs.
"""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def in_fraction(shas: Sequence[str], fraction: float) -> Tensor:
    """bool n: whether a sample's photograph is among the first round(fraction * m), at least one, of m photographs.

    shas: n hashes of the photographs. fraction: in (0, 1]. The order is not that in which folds are dealt.
    """

    def order(sha: str) -> str:
        return hashlib.sha256(f"fraction/{sha}".encode()).hexdigest()

    images = sorted(set(shas), key=order)
    chosen = set(images[: max(1, round(fraction * len(images)))])
    return torch.tensor([sha in chosen for sha in shas])
