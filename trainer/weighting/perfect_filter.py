"""What any filter could reach at most: the machine labels that audit gold finds good count one, the others nothing.

No method of a user: it reads the truth of every label. It says how much of the way to clean labels is lost because
wrong labels are left out, which no better discriminator brings back.
"""

from pathlib import Path

import torch
from torch import Tensor

from trainer.data.protocol import Store
from trainer.data.truth import label_ious
from trainer.losses import SAME
from trainer.weighting.protocol import Context


class PerfectFilter:
    """One for gold and for good machine labels, zero for bad ones.

    Args:
        is_good: bool n.
        gold_weight: weight of gold.
    """

    peers = 1
    reads_losses = False

    def __init__(self, *, is_good: Tensor, gold_weight: float = 1.0) -> None:
        self.is_good = is_good
        self.gold_weight = gold_weight

    def __call__(self, losses: Tensor, context: Context) -> Tensor:
        """mb losses -> mb weights."""
        self.is_good = self.is_good.to(losses.device)
        good = self.is_good[context.rows].to(losses.dtype)
        return torch.where(context.is_gold, self.gold_weight, good).expand_as(losses)


def good_labels(root: Path, store: Store) -> Tensor:
    """bool n: whether the machine's label has an IoU of at least `SAME` with gold of any role.

    Raises:
        ValueError: some machine label has no gold to be held against.
    """
    ious = label_ious(root, store)
    unknown = (ious.isnan() & ~store.is_gold).nonzero()[:, 0].tolist()
    if unknown:
        raise ValueError(
            f"perfect_filter: {len(unknown)} machine labels of {root} have no audit gold, first "
            f"{store.ids[unknown[0]]!r}; it is a bound for simulated noise, where the truth of every label is known"
        )
    return ious >= SAME
