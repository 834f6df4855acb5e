"""Confident learning: machine labels that an out-of-sample model contradicts with confidence are left out.

Confident Learning (Northcutt et al., arXiv 1911.00068) finds labels whose predicted probability for another class
passes that class's own mean confidence; cleanlab applies it to the pixels of segmentation masks. The out-of-sample
model is the guess of the discriminators' folds; `maskmix discriminate` leaves the findings in the sidecar `confident`
(measure.confident_issues) when the recipe says `discriminate.confident: true`. How many samples are left out follows
from cleanlab's count of wrong pixels, and one key that says from which share of them a mask is wrong. Gold always
counts.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from pipeline.sidecar import read_sidecar
from trainer.weighting.protocol import Context

SIDECAR = "confident"


class Confident:
    """One for gold and for machine samples that are no issue, zero for the issues.

    Args:
        is_issue: bool n.
        gold_weight: weight of gold.
    """

    peers = 1
    reads_losses = False

    def __init__(self, *, is_issue: Tensor, gold_weight: float = 1.0) -> None:
        self.is_issue = is_issue
        self.gold_weight = gold_weight

    def __call__(self, losses: Tensor, context: Context) -> Tensor:
        """mb losses -> mb weights."""
        self.is_issue = self.is_issue.to(losses.device)
        sound = (~self.is_issue[context.rows]).to(losses.dtype)
        return torch.where(context.is_gold, self.gold_weight, sound).expand_as(losses)


def read_issues(root: Path, ids: Sequence[str]) -> Tensor:
    """bool n: the column `is_issue` of the sidecar `confident`, for the samples `ids`.

    Raises:
        ValueError: there is no such sidecar, or it does not speak of every sample.
    """
    try:
        columns = read_sidecar(root, SIDECAR).select(["sample_id", "is_issue"]).to_pydict()
    except ValueError as error:
        raise ValueError(
            f"{error}; confident: run `maskmix discriminate` with discriminate.confident=true"
        ) from error
    issue = dict(zip(columns["sample_id"], columns["is_issue"], strict=True))
    missing = [sample_id for sample_id in ids if sample_id not in issue]
    if missing:
        raise ValueError(
            f"sidecar {SIDECAR!r} of {root} lacks {len(missing)} samples, first {missing[0]!r}; it is of another build:"
            " run `maskmix discriminate` again"
        )
    return torch.tensor([bool(issue[sample_id]) for sample_id in ids])
