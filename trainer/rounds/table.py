"""What `maskmix loop` says of its rounds: how good the labels are where audit gold can tell, and the table."""

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from annotators.quality import mask_iou
from pipeline.reader import iterate_samples
from trainer.losses import SAME

TAKEN = "trained"
"""Expert whose masks, where they became labels, are counted."""


def label_facts(root: Path) -> dict[str, Any]:
    """How many samples and gold there are, how many labels are a trained model's, and what audit gold says of labels.

    Returns:
        samples, gold (role "train"), taken, audited; right (share of audited machine labels with IoU >= 0.5) and
        label_iou (their mean IoU), both None without audit gold. Samples whose gold is learnt from are not audited.
    """
    ious: list[float] = []
    samples = gold = taken = 0
    for sample in iterate_samples(root):
        assert sample.label is not None
        samples += 1
        members = sample.label.members
        candidates = sample.candidates or ()
        taken += bool(members) and all(candidates[m].made_by.expert == TAKEN for m in members)
        if sample.gold is None:
            continue
        if sample.gold_role == "train":
            gold += 1
            continue
        ious.append(mask_iou(sample.label.mask >= 128, sample.gold.array()))
    return {
        "samples": samples,
        "gold": gold,
        "taken": taken,
        "audited": len(ious),
        "right": round(fmean(iou >= SAME for iou in ious), 5) if ious else None,
        "label_iou": round(fmean(ious), 5) if ious else None,
    }


def table_text(result: Mapping[str, Any]) -> str:
    """The loop as plain text, one line a round."""
    budget = result["budget"]
    height, width = budget["size_hw"]
    lines = [
        f"{result['dataset']} -> {result['test']}: {budget['steps']} steps of {budget['batch']} at {height}x{width}, "
        f"seed {result['seed']}",
        f"{'round':<7}{'taken':>7}{'margin':>8}{'labels right':>14}{'label IoU':>11}{'AUC':>8}{'gIoU':>8}{'gain':>9}",
    ]
    for row in result["rows"]:
        gain = "-" if row["gain"] is None else f"{row['gain']:+.3f}"
        lines.append(
            f"{row['round']:<7}{row['taken']:>7}{_number(row['margin'], 2):>8}{_number(row['right'], 3):>14}"
            f"{_number(row['label_iou'], 3):>11}{_number(row['auc_good_vs_bad'], 3):>8}"
            f"{_number(row['giou'], 3):>8}{gain:>9}"
        )
    rows = result["rows"]
    lines.append(
        f"gain over round 0: {rows[-1]['giou'] - rows[0]['giou']:+.3f} gIoU. taken: labels that are a trained model's; "
        "labels right: share with IoU >= 0.5, by audit gold"
    )
    return "\n".join(lines) + "\n"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
