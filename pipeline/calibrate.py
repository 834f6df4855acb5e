"""What a finished dataset teaches the next build: how far each expert can be trusted, and what the score is worth.

One pass over verified shards. Reliabilities are learnt from votes alone (annotators.reliability) and stand beside the
true ones where gold can tell; gold calibrates the score (annotators.calibration) where there is enough of it. Both are
sidecars, inputs of a later build, and never state that units share.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from annotators.calibration import (
    KIND,
    Bin,
    calibration_error,
    deal_folds,
    fit_knots,
    out_of_fold,
    read_off,
    reliability_bins,
)
from annotators.cleanlab_score import MISSING, cleanlab_score, has_cleanlab
from annotators.quality import mask_iou
from annotators.rates import KIND as RATES
from annotators.reliability import SHRINK, Audit, Learnt, VoteTally, learn_by_style
from annotators.votes import votes_of
from pipeline.reader import iterate_samples
from pipeline.records import Quality, Sample
from pipeline.shards import write_atomic
from pipeline.sidecar import write_sidecar

RIGHT = 0.5
"""IoU with gold from which a label is right."""
FOLDS = 5
LEAST, LEAST_OF_A_KIND = 50, 10
"""Labels with gold, and right and wrong ones among them, that a calibration needs."""

QUALITY = pa.schema(
    [
        ("sample_id", pa.string()),
        ("score", pa.float64()),  # quality as it was made, [0, 1]
        ("calibrated", pa.float64()),  # chance of IoU >= 0.5; out of fold where gold was fitted on
        ("expected_iou", pa.float64()),  # as above
        ("cleanlab", pa.float64()),  # softmin score of the panel's agreement; null without cleanlab
        ("iou", pa.float64()),  # with gold; null without
        ("fold", pa.int16()),  # of the calibration; null where gold was not fitted on
    ]
)  # fmt: skip


@dataclass(slots=True, kw_only=True)
class Judged:
    """The columns that calibration looks at, a row per sample that was scored."""

    ids: list[str] = field(default_factory=list[str])
    images: list[str] = field(default_factory=list[str])
    scores: list[float] = field(default_factory=list[float])
    marks: list[bool] = field(default_factory=list[bool])
    """Whether the label marks anything; the empty one has score 0 and is calibrated by nobody."""
    ious: list[float | None] = field(default_factory=list[float | None])
    baseline: list[float | None] = field(default_factory=list[float | None])
    rules: set[str] = field(default_factory=set[str])

    def add(self, sample: Sample, quality: Quality, baseline: float | None) -> None:
        """Take in one sample; a score that was calibrated before counts as it was then."""
        assert sample.label is not None
        mask = sample.label.mask >= 128
        self.ids.append(sample.id)
        self.images.append(sample.source.image_sha256)
        self.scores.append(dict(quality.parts).get("raw", quality.score))
        self.marks.append(bool(mask.any()))
        self.ious.append(mask_iou(mask, sample.gold.array()) if sample.gold else None)
        self.baseline.append(baseline)
        self.rules.add(quality.rule.removesuffix("+isotonic"))


def calibrate(root: Path) -> dict[str, Any]:
    """Write `sidecars/reliability.json` and, given gold, `calibration.json` and `quality.parquet` beside it.

    Returns:
        `reliability` and `calibration` as written, the latter None with `why` saying what it lacks.

    Raises:
        ValueError: the dataset is unfinished or damaged, or no sample has a candidate.
    """
    tally, audit, judged = VoteTally(), Audit(), Judged()
    with_cleanlab = has_cleanlab()
    for sample in iterate_samples(root):
        assert sample.label is not None
        votes = votes_of(sample.candidates or (), sample.size_hw)
        tally.add(votes, style=sample.style)
        if sample.gold:
            audit.add(votes, sample.gold.array(), style=sample.style)
        if sample.quality:
            baseline = cleanlab_score(votes, sample.label.mask >= 128) if with_cleanlab else None
            judged.add(sample, sample.quality, baseline)
    if not tally.voters:
        raise ValueError(f"{root} holds no candidates: no panel was asked, so none can be judged")
    reliability = reliability_table(tally, audit)
    _write(root, "reliability", reliability)
    why = lacking(judged)
    calibration = None
    if not why:
        calibration, table = calibration_table(judged)
        _write(root, "calibration", calibration)
        write_sidecar(root, "quality", table)
    return {"reliability": reliability, "calibration": calibration, "why": why}


def reliability_table(tally: VoteTally, audit: Audit) -> dict[str, Any]:
    """reliability.json: rates by voter, overall and by style, with coverage and, where gold tells, the true ones."""
    overall, styles = learn_by_style(tally)
    seen = sum(tally.samples.values())

    def rows(learnt: Learnt, style: str | None) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for voter in tally.voters:
            spoke = sum(mine.get(voter, 0) for s, mine in tally.spoke.items() if style in (None, s))
            true = audit.rates(voter, style)
            found[voter] = {
                "sensitivity": _round(learnt.rates[voter].sensitivity),
                "specificity": _round(learnt.rates[voter].specificity),
                "samples": spoke,
                "coverage": _round(spoke / (seen if style is None else tally.samples[style])),
                "gold": audit.count(voter, style),
                "true_sensitivity": _round(true.sensitivity) if true else None,
                "true_specificity": _round(true.specificity) if true else None,
            }
        return found

    return {
        "format": 1,
        "kind": RATES,
        "samples": seen,
        "samples_by_style": dict(sorted(tally.samples.items())),
        "shrink": SHRINK,
        "iterations": overall.iterations,
        "converged": overall.converged and all(s.converged for s in styles.values()),
        "overall": rows(overall, None),
        "styles": {style: rows(learnt, style) for style, learnt in styles.items()},
    }


def calibration_table(judged: Judged) -> tuple[dict[str, Any], pa.Table]:
    """calibration.json and the rows of quality.parquet; `judged` must hold enough gold."""
    scores = np.array(judged.scores, np.float64)
    known = np.array([i is not None for i in judged.ious]) & np.array(judged.marks)
    ious = np.array([i for i, use in zip(judged.ious, known.tolist(), strict=True) if use])
    own = scores[known]
    right = ious >= RIGHT
    fold = deal_folds(
        [s for s, use in zip(judged.images, known.tolist(), strict=True) if use], folds=FOLDS
    )
    knots = {"right": fit_knots(own, right.astype(np.float64)), "iou": fit_knots(own, ious)}
    unseen = {
        "right": out_of_fold(own, right.astype(np.float64), fold),
        "iou": out_of_fold(own, ious, fold),
    }
    columns: dict[str, list[float | None]] = {}
    for name, values in unseen.items():
        given = iter(values.tolist())
        columns[name] = [
            next(given) if use else read_off(knots[name], score) if marks else 0.0
            for use, marks, score in zip(known.tolist(), judged.marks, judged.scores, strict=True)
        ]
    dealt = iter(fold.tolist())
    table = pa.table(
        {
            "sample_id": judged.ids,
            "score": judged.scores,
            "calibrated": columns["right"],
            "expected_iou": columns["iou"],
            "cleanlab": judged.baseline,
            "iou": judged.ious,
            "fold": [next(dealt) if use else None for use in known.tolist()],
        },
        schema=QUALITY,
    )
    before, after = reliability_bins(own, right), reliability_bins(unseen["right"], right)
    baseline = [b for b, use in zip(judged.baseline, known.tolist(), strict=True) if use]
    told: dict[str, NDArray[np.float64]] = {"score": own, "calibrated": unseen["right"]}
    if None not in baseline:
        told["cleanlab"] = np.array(baseline, np.float64)
    facts = {
        "format": 1,
        "kind": KIND,
        "rules": sorted(judged.rules),
        "n": len(own),
        "right_share": _round(float(right.mean())),
        "mean_iou": _round(float(ious.mean())),
        "folds": FOLDS,
        "right": [list(knot) for knot in knots["right"]],
        "iou": [list(knot) for knot in knots["iou"]],
        "ece_before": _round(calibration_error(before)),
        "ece_after": _round(calibration_error(after)),
        "iou_error": _round(float(np.abs(unseen["iou"] - ious).mean())),
        "bins_before": _plain(before),
        "bins_after": _plain(after),
        "judges": {name: _judge(values, ious) for name, values in told.items()},
    }
    return facts, table


def reliability_lines(table: Mapping[str, Any]) -> list[str]:
    """reliability.json for a terminal: a line per expert, all styles together."""
    wide = max(len(name) for name in ("expert", *table["overall"]))
    lines = [f"{'expert':<{wide}}  spoke  sensitivity  specificity  (true ones, with gold)"]
    for voter, row in table["overall"].items():
        true = "-"
        if row["true_sensitivity"] is not None:
            true = f"{row['true_sensitivity']:.3f} {row['true_specificity']:.3f} n={row['gold']}"
        lines.append(
            f"{voter:<{wide}}  {row['coverage']:5.0%}  {row['sensitivity']:11.3f}  "
            f"{row['specificity']:11.3f}  ({true})"
        )
    rounds = f"{table['iterations']} iterations" + ("" if table["converged"] else ", NOT converged")
    styles = ", ".join(style or "no style" for style in table["styles"])
    return [*lines, f"EM over {table['samples']} samples, {rounds}; by style too: {styles}"]


def calibration_lines(table: Mapping[str, Any]) -> list[str]:
    """calibration.json for a terminal: what each judge of labels is worth."""
    lines = [f"{'judge':<12}  AUC right/wrong  Spearman with IoU"]
    for name, row in table["judges"].items():
        rank = "-" if row["spearman"] is None else f"{row['spearman']:.3f}"
        lines.append(f"{name:<12}  {row['auc']:15.3f}  {rank:>17}")
    if "cleanlab" not in table["judges"]:
        lines.append(MISSING)
    lines.append(
        f"calibration error {table['ece_before']:.3f} -> {table['ece_after']:.3f} out of fold, on {table['n']} labels "
        f"with gold, {table['right_share']:.0%} of them right (IoU >= {RIGHT})"
    )
    return lines


def _judge(scores: NDArray[np.float64], ious: NDArray[np.float64]) -> dict[str, float | None]:
    """How well scores order labels: AUC of right against wrong, Spearman's correlation with IoU."""
    from scipy.stats import rankdata
    from sklearn.metrics import roc_auc_score

    flat = bool((scores == scores[0]).all())
    return {
        "auc": _round(float(roc_auc_score(ious >= RIGHT, scores))),
        "spearman": None
        if flat
        else _round(float(np.corrcoef(rankdata(scores), rankdata(ious))[0, 1])),
    }


def lacking(judged: Judged) -> str:
    """What a calibration lacks, in words; empty when it lacks nothing."""
    ious = [
        i for i, marks in zip(judged.ious, judged.marks, strict=True) if marks and i is not None
    ]
    right = sum(i >= RIGHT for i in ious)
    if not judged.ids:
        return "no label was scored: add a score stage to the recipe"
    if len(ious) < LEAST:
        return f"{len(ious)} labels have gold (train or audit); a calibration needs {LEAST}"
    if min(right, len(ious) - right) < LEAST_OF_A_KIND:
        return (
            f"of {len(ious)} labels with gold {right} are right (IoU >= {RIGHT}); a calibration needs "
            f"{LEAST_OF_A_KIND} right and {LEAST_OF_A_KIND} wrong ones"
        )
    return ""


def _plain(bins: Sequence[Bin]) -> list[dict[str, Any]]:
    return [
        {"lo": b.lo, "hi": b.hi, "n": b.n, "mean": _round(b.mean), "share": _round(b.share)}
        for b in bins
    ]


def _round(value: float) -> float:
    return round(value, 6)


def _write(root: Path, name: str, table: Mapping[str, Any]) -> None:
    text = json.dumps(table, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    folder = root / "sidecars"
    folder.mkdir(exist_ok=True)
    write_atomic(folder / f"{name}.json", text.encode() + b"\n")
