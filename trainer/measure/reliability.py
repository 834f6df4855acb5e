"""Is p_clean a probability? Reliability against audit gold, and recalibration on gold that learning may see.

A discriminator trained on positives and unlabelled labels orders labels well and calls their chance badly: what it
estimates is "a human's label", at the share of humans in its batches. So p_clean is turned into the chance that a label
is right (IoU >= 0.5 with gold), learnt from the machine's own labels of gold samples: nobody trained on these
photographs when they were judged, and their truth is known (`weights_labels`, trainer.discriminate). Audit gold only
measures, before and after.

Two curves, as plain knots: isotonic regression (Zadrozny and Elkan 2002) of annotators.calibration, and Platt's
logistic with his smoothed targets (Platt 1999), which two numbers describe and little gold can bear. "auto" takes the
one with the smaller Brier score out of fold. Labels of one photograph count as independent, which they are not quite.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from annotators.calibration import (
    BINS,
    Bin,
    Floats,
    Knots,
    calibration_error,
    deal_folds,
    fit_knots,
    out_of_fold,
    read_off,
    reliability_bins,
)
from annotators.quality import mask_iou
from pipeline.reader import iterate_samples
from pipeline.shards import write_atomic
from pipeline.sidecar import labels_sidecar, read_sidecar, write_sidecar
from trainer.losses import SAME

KIND = "p_clean"
FOLDS = 5
LEAST, LEAST_OF_A_KIND = 30, 5
"""Machine labels of gold samples, and right and wrong ones among them, that a recalibration needs."""
CALIBRATED = pa.schema(
    [
        ("sample_id", pa.string()),
        ("p_label", pa.float32()),  # as in the sidecar of labels
        ("calibrated", pa.float32()),  # chance of IoU >= 0.5; out of fold where gold was fitted on
    ]
)
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JudgedLabels:
    """The machine's labels of a dataset, n in its order, as its discriminator judged them out of fold.

    p: float64 n in [0, 1]. images: their hashes. iou: float64 n, with gold; NaN without. learnable: bool n, gold with
    role "train"; audited: bool n, gold with role "audit".
    """

    ids: tuple[str, ...]
    images: tuple[str, ...]
    p: Floats
    iou: Floats
    learnable: Bools
    audited: Bools

    @property
    def right(self) -> Bools:
        """bool n: IoU with gold of at least 0.5; False also where there is no gold."""
        return np.nan_to_num(self.iou, nan=0.0) >= SAME


def judged_labels(root: Path, *, sidecar: str = "weights") -> JudgedLabels:
    """Read what `maskmix discriminate` thinks of every machine label, and the truth where gold tells it.

    Raises:
        ValueError: the dataset is unfinished or damaged, or was not judged since it was built.
    """
    scores = read_sidecar(root, labels_sidecar(sidecar)).select(["sample_id", "p_label"])
    p_of = dict(zip(*scores.to_pydict().values(), strict=True))
    ids: list[str] = []
    images: list[str] = []
    ious: list[float] = []
    roles: list[str] = []
    for sample in iterate_samples(root):
        assert sample.label is not None, sample.id
        if sample.id not in p_of:
            raise ValueError(
                f"sidecar {labels_sidecar(sidecar)!r} of {root} lacks {sample.id!r}; it is of another build: run "
                "`maskmix discriminate` again"
            )
        ids.append(sample.id)
        images.append(sample.source.image_sha256)
        gold = None if sample.gold is None else sample.gold.array()
        ious.append(np.nan if gold is None else mask_iou(sample.label.mask >= 128, gold))
        roles.append("" if gold is None else sample.gold_role)
    return JudgedLabels(
        ids=tuple(ids),
        images=tuple(images),
        p=np.array([p_of[i] for i in ids], np.float64),
        iou=np.array(ious, np.float64),
        learnable=np.array([role == "train" for role in roles], bool),
        audited=np.array([role == "audit" for role in roles], bool),
    )


def reliability(root: Path, *, sidecar: str = "weights", method: str = "auto") -> dict[str, Any]:
    """Measure p_clean, recalibrate it, and write `sidecars/{sidecar}_reliability.json` and `..._calibrated.parquet`.

    Args:
        root: a dataset folder that was judged.
        sidecar: the weights sidecar.
        method: "isotonic", "platt", or "auto".

    Returns:
        What the JSON file holds: `learnt` is the recalibration and its measures on the gold it was learnt from
        (before, and after out of fold), None where `why` says what it lacks; `audit` holds the measures on audit gold,
        `raw` and `calibrated`, each None where there is nothing to measure.

    Raises:
        ValueError: the dataset was not judged, or the method is unknown.
    """
    if method not in ("auto", *FITS):
        raise ValueError(f"method {method!r}; expected auto, {' or '.join(FITS)}")
    judged = judged_labels(root, sidecar=sidecar)
    own, right = judged.p[judged.learnable], judged.right[judged.learnable]
    images = [s for s, use in zip(judged.images, judged.learnable.tolist(), strict=True) if use]
    why = lacking(right, images)
    facts: dict[str, Any] = {"format": 1, "kind": KIND, "learnt": None, "why": why}
    audit_p, audit_right = judged.p[judged.audited], judged.right[judged.audited]
    facts["audit"] = {"raw": measures(audit_p, audit_right), "calibrated": None}
    if not why:
        name, knots, unseen = recalibrate(own, right, images, method=method)
        calibrated = np.array([read_off(knots, p) for p in judged.p.tolist()])
        calibrated[judged.learnable] = unseen
        facts["learnt"] = {
            "method": name,
            "knots": [list(knot) for knot in knots],
            "raw": measures(own, right),
            "out_of_fold": measures(unseen, right),
        }
        facts["audit"]["calibrated"] = measures(calibrated[judged.audited], audit_right)
        columns = {"sample_id": list(judged.ids), "p_label": judged.p, "calibrated": calibrated}
        write_sidecar(root, f"{sidecar}_calibrated", pa.table(columns, schema=CALIBRATED))
    text = json.dumps(facts, indent=1, sort_keys=True, allow_nan=False)
    write_atomic(root / "sidecars" / f"{sidecar}_reliability.json", text.encode() + b"\n")
    return facts


def recalibrate(
    p: Floats, right: Bools, images: list[str], *, method: str = "auto"
) -> tuple[str, Knots, Floats]:
    """The curve from p_clean to the chance of being right.

    Returns:
        Its name, its knots, and float64 n: what it says of each label when learnt without the folds of its photograph.
    """
    fold, values = deal_folds(images, folds=FOLDS), right.astype(np.float64)
    names = list(FITS) if method == "auto" else [method]
    unseen = {name: out_of_fold(p, values, fold, fit=FITS[name]) for name in names}
    best = min(names, key=lambda name: (brier(unseen[name], right), names.index(name)))
    return best, FITS[best](p, values), unseen[best]


def fit_platt(scores: Floats, values: Floats) -> Knots:
    """Platt's curve sigmoid(a logit(score) + b) through labels `values` of 0 and 1, as knots; flat where a < 0.

    The targets are (n1 + 1) / (n1 + 2) and 1 / (n0 + 2), so that labels that can be separated give no step.
    """
    from sklearn.linear_model import LogisticRegression

    good = values >= 0.5
    n1, n0 = int(good.sum()), int((~good).sum())
    target = np.where(good, (n1 + 1) / (n1 + 2), 1 / (n0 + 2))
    x = np.tile(_logit(scores), 2)[:, None]
    y = np.repeat([1, 0], len(scores))
    model = LogisticRegression(C=1e6, max_iter=1000)
    model.fit(x, y, sample_weight=np.concatenate([target, 1 - target]))
    if model.coef_[0, 0] < 0:
        share = round(float(target.mean()), 6)
        return ((0.0, share), (1.0, share))
    places = _sigmoid(np.linspace(-7, 7, 141))
    heights = model.predict_proba(_logit(places)[:, None])[:, 1]
    return tuple(
        (round(x, 6), round(y, 6)) for x, y in zip(places.tolist(), heights.tolist(), strict=True)
    )


FITS: dict[str, Callable[[Floats, Floats], Knots]] = {"platt": fit_platt, "isotonic": fit_knots}
"""The simpler first: it wins a tie."""


def measures(p: Floats, right: Bools) -> dict[str, Any] | None:
    """How good probabilities `p` of being right are, n each: None when n is 0.

    `auc` of right against wrong (None when all are one of them); `brier`, mean (p - right)^2; `ece` over equal bins
    and `ece_adaptive` over bins of equal counts; `bins` and `adaptive_bins` themselves.
    """
    from sklearn.metrics import roc_auc_score

    if not len(p):
        return None
    both = 0 < int(right.sum()) < len(right)
    equal, adaptive = reliability_bins(p, right), adaptive_bins(p, right)
    return {
        "n": len(p),
        "right_share": _round(float(right.mean())),
        "p_mean": _round(float(p.mean())),
        "auc": _round(float(roc_auc_score(right, p))) if both else None,
        "brier": _round(brier(p, right)),
        "ece": _round(calibration_error(equal)),
        "ece_adaptive": _round(calibration_error(adaptive)),
        "bins": _plain(equal),
        "adaptive_bins": _plain(adaptive),
    }


def adaptive_bins(p: Floats, right: Bools, *, bins: int = BINS) -> list[Bin]:
    """Bins of equal counts (Nixon et al. 2019), where equal widths leave some nearly empty; equal scores stay together.

    `lo` and `hi` are the smallest and the largest score inside.
    """
    order = np.argsort(p, kind="stable")
    cuts = {0, len(p)}
    for number in range(1, bins):
        cut = len(p) * number // bins
        cuts.add(int(np.searchsorted(p[order], p[order[cut]], side="left")) if cut else 0)
    found: list[Bin] = []
    for start, stop in pairwise(sorted(cuts)):
        rows = order[start:stop]
        found.append(
            Bin(
                lo=float(p[rows].min()),
                hi=float(p[rows].max()),
                n=len(rows),
                mean=float(p[rows].mean()),
                share=float(right[rows].mean()),
            )
        )
    return found


def brier(p: Floats, right: Bools) -> float:
    """Mean squared distance of a probability and what came of it (Brier 1950).

    >>> brier(np.array([1.0, 0.5]), np.array([True, False]))
    0.125
    """
    return float(np.mean((p - right) ** 2))


def lacking(right: Bools, images: list[str]) -> str:
    """What a recalibration lacks, in words; empty when it lacks nothing."""
    n, good = len(right), int(right.sum())
    if n < LEAST or len(set(images)) < FOLDS:
        return (
            f"{n} machine labels of {len(set(images))} photographs have gold to learn from; a recalibration needs "
            f"{LEAST} of {FOLDS} photographs"
        )
    if min(good, n - good) < LEAST_OF_A_KIND:
        return (
            f"of {n} machine labels with gold to learn from {good} are right (IoU >= {SAME}); a recalibration needs "
            f"{LEAST_OF_A_KIND} right and {LEAST_OF_A_KIND} wrong ones"
        )
    return ""


def reliability_lines(facts: dict[str, Any]) -> list[str]:
    """What `reliability` found, for a terminal."""
    lines = [f"{'p_clean, measured on':<40}    n  right  AUC    Brier  ECE    ECE (equal counts)"]
    learnt, audit = facts["learnt"], facts["audit"]
    rows = [("audit gold, as it is", audit["raw"])]
    if learnt:
        rows.append((f"audit gold, recalibrated ({learnt['method']})", audit["calibrated"]))
        rows.append(("gold learnt from, as it is", learnt["raw"]))
        rows.append(("gold learnt from, out of fold", learnt["out_of_fold"]))
    for name, row in rows:
        if row is None:
            lines.append(f"{name:<40} nothing to measure")
            continue
        auc = "-    " if row["auc"] is None else f"{row['auc']:.3f}"
        lines.append(
            f"{name:<40} {row['n']:>4}  {row['right_share']:4.0%}   {auc}  {row['brier']:.3f}  {row['ece']:.3f}  "
            f"{row['ece_adaptive']:.3f}"
        )
    return [*lines, f"not recalibrated: {facts['why']}"] if facts["why"] else lines


def _logit(p: Floats) -> Floats:
    inside = np.clip(p, 1e-3, 1 - 1e-3)
    return np.log(inside) - np.log1p(-inside)


def _sigmoid(x: Floats) -> Floats:
    return 1.0 / (1.0 + np.exp(-x))


def _plain(bins: list[Bin]) -> list[dict[str, Any]]:
    return [
        {"lo": _round(b.lo), "hi": _round(b.hi), "n": b.n, "mean": _round(b.mean), "share": _round(b.share)}
        for b in bins
    ]  # fmt: skip


def _round(value: float) -> float:
    return round(value, 6)
