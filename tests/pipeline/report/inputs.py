"""Everything a report can read, made small: drawn samples with three experts of known faults, runs, comparisons.

Experts: `wide` marks the thing dilated, `left` only its left half, `lost` another place (and abstains on every third
sample). So who is good, who agrees, and how wrong each label is follows from the drawing.
"""

import hashlib
import json
from itertools import combinations
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from annotators.fusion import fuse
from annotators.masks import BoolMask, encode_mask
from annotators.quality import judge
from pipeline.config import BudgetConfig
from pipeline.line import open_ledger
from pipeline.manifest import MANIFEST, PanelEntry, read_manifest, read_receipts, write_json
from pipeline.panel_usage import ExpertUsage, write_usage
from pipeline.records import Candidate, Phrase, Provenance, Sample, SourceRef
from pipeline.sidecar import WEIGHTS, write_sidecar
from tests.pipeline.datasets_for_tests import encode_image, picture

STYLES = ("phrase", "command", "question", "all")


def write_panel(root: Path) -> None:
    """The three experts as the panel of a dataset, with what they were asked and one paid call."""
    manifest = read_manifest(root)
    seats = [
        PanelEntry(
            stage="segment", position=n, expert=name, roles=["text segmenter"], model=f"org/{name}", revision="a1b2",
            prompt_version="", licence="mit", config_hash="c0ffee",
        )
        for n, name in enumerate(("wide", "left", "lost"))
    ]  # fmt: skip
    write_json(root / MANIFEST, manifest.model_copy(update={"panel": seats}))
    for receipt in read_receipts(root):
        rows = [
            ExpertUsage(stage="segment", position=n, expert=seat.expert, asked=receipt.inputs, answered=receipt.inputs)
            for n, seat in enumerate(seats)
        ]  # fmt: skip
        write_usage(root, manifest.split, receipt.unit, rows)
    ledger = open_ledger(root, BudgetConfig())
    call = ledger.reserve("wide", model="org/wide", prompt_tokens=7, completion_tokens=5)
    ledger.settle(call, prompt_tokens=7, completion_tokens=2, seconds=0.5)


def thing(seed: int, size_hw: tuple[int, int]) -> tuple[NDArray[np.uint8], BoolMask]:
    """A picture with one ellipse, and the ellipse."""
    h, w = size_hw
    rng = np.random.default_rng(seed)
    image = picture(seed, size_hw) // 2 + 40
    centre = (int(rng.integers(w // 3, 2 * w // 3)), int(rng.integers(h // 3, 2 * h // 3)))
    axes = (int(rng.integers(w // 9, w // 4)), int(rng.integers(h // 9, h // 4)))
    shape = np.zeros(size_hw, np.uint8)
    cv2.ellipse(shape, centre, axes, float(rng.integers(0, 180)), 0, 360, 1, -1)
    image[shape > 0] = (230, 200, 60) if seed % 2 else (90, 170, 220)
    return np.asarray(image, np.uint8), shape > 0


def drawn_sample(
    number: int, *, size_hw: tuple[int, int] = (48, 64), gold: bool = True, found: bool = True
) -> Sample:
    """A labelled sample; `found=False`: every expert abstained and the label is empty."""
    image, mask = thing(number, size_hw)
    k = 3 + 2 * (number % 4)
    wide = cv2.dilate(mask.astype(np.uint8), np.ones((k, k), np.uint8)) > 0
    left = mask.copy()
    left[:, int(np.flatnonzero(mask.any(axis=0)).mean()) :] = False
    lost = np.roll(mask, size_hw[1] // 2, axis=1)
    votes = [("wide", wide, 0.7), ("left", left, 0.6), ("lost", lost, 0.4)]
    candidates = tuple(
        Candidate(
            mask=encode_mask(vote), phrase=0, proposal=None, mask_score=score, stability=0.9,
            made_by=Provenance(expert=name, config_hash="c0ffee"),
        )
        for name, vote, score in votes
        if found and not (name == "lost" and number % 3 == 0)
    )  # fmt: skip
    label = fuse(candidates, size_hw, rule="best" if number % 5 == 4 else "vote")
    data = encode_image(image, "jpg")
    return Sample(
        id=f"drawn-{number:04d}",
        image=data,
        size_hw=size_hw,
        instructions=(f"hand me the round thing number {number}", f"the round thing {number}"),
        source=SourceRef(
            dataset="drawn", split="train", key=str(number), licence="CC0-1.0", url="",
            image_sha256=hashlib.sha256(data).hexdigest(),
        ),
        style=STYLES[number % len(STYLES)],
        gold=encode_mask(mask) if gold else None,
        gold_role="train" if number % 4 == 0 else "audit",
        phrases=(Phrase(text="the round thing", role="simplified", made_by="rules"),),
        candidates=candidates,
        label=label,
        quality=judge(candidates, label, panel_size=3),
    )  # fmt: skip


def write_discriminator(root: Path, ids: list[str]) -> None:
    """Both sidecars of a discriminator, with every third weight zero."""
    grid = [n / 10 for n in range(11)]
    stored = {
        "folds": 5, "loss": "pu", "auc_gold_vs_machine": 0.812, "auc_good_vs_bad": 0.774, "leakage_auc": None,
        "roc": {"fpr": grid, "tpr": [x**0.4 for x in grid]},
        "reliability": [
            {"lo": n / 5, "hi": (n + 1) / 5, "n": 4 + n, "p_mean": n / 5 + 0.1, "good_share": (n + 0.5) / 6}
            for n in range(5)
        ],
    }  # fmt: skip
    (root / "sidecars").mkdir(exist_ok=True)
    (root / "sidecars" / "discriminator.json").write_text(json.dumps(stored))
    clean = [(n % 20) / 20 for n in range(len(ids))]
    weight = [0.0 if n % 3 == 0 else 1.5 for n in range(len(ids))]
    columns = [ids, clean, weight, [n % 5 for n in range(len(ids))]]
    write_sidecar(root, "weights", pa.table(columns, schema=WEIGHTS))


def write_learnt(root: Path) -> None:
    """What `maskmix calibrate` leaves: two settings of one expert and another, which was silent in a style."""

    def row(p: float, q: float, samples: int, true: float | None = None) -> dict[str, Any]:
        return {
            "sensitivity": p, "specificity": q, "samples": samples, "coverage": samples / 20, "gold": samples,
            "true_sensitivity": true, "true_specificity": true,
        }  # fmt: skip

    reliability = {
        "format": 1, "kind": "reliability", "samples": 20, "samples_by_style": {"all": 4, "phrase": 16},
        "shrink": 10.0, "iterations": 17, "converged": True,
        "overall": {"sam@c0ffee00": row(0.91, 0.97, 20, 0.875), "sam@decaf000": row(0.31, 0.62, 12, 0.25),
                    "size@c0ffee00": row(0.52, 0.99, 9)},
        "styles": {
            "all": {"sam@c0ffee00": row(0.93, 0.98, 4), "sam@decaf000": row(0.33, 0.6, 2),
                    "size@c0ffee00": row(0.52, 0.99, 0)},
            "phrase": {"sam@c0ffee00": row(0.9, 0.96, 16), "sam@decaf000": row(0.3, 0.63, 10),
                       "size@c0ffee00": row(0.5, 0.99, 9)},
        },
    }  # fmt: skip
    bins = [
        {"lo": n / 5, "hi": (n + 1) / 5, "n": 3 + n, "mean": n / 5 + 0.1, "share": n / 6}
        for n in range(5)
    ]
    calibration = {
        "format": 1, "kind": "calibration", "n": 64, "right_share": 0.25, "ece_before": 0.412, "ece_after": 0.041,
        "bins_before": bins, "bins_after": bins[::-1], "rules": ["agreement"],
        "judges": {"score": {"auc": 0.757, "spearman": 0.15}, "calibrated": {"auc": 0.726, "spearman": None},
                   "cleanlab": {"auc": 0.553, "spearman": -0.066}},
    }  # fmt: skip
    (root / "sidecars").mkdir(exist_ok=True)
    for name, table in (("reliability", reliability), ("calibration", calibration)):
        (root / "sidecars" / f"{name}.json").write_text(json.dumps(table))


def write_missingness(root: Path, *, composes: bool = True) -> None:
    """What `maskmix missingness` leaves: a judge that leans on shapes, and is upside down over black."""

    def row(auc: float, kept: float | None = 0.25) -> dict[str, Any]:
        return {"auc": auc, "low": auc - 0.03, "high": auc + 0.03, "kept": kept, "p_mean": 0.4}

    fills = ("white", "grey", "black", "blur", "mean")
    told = {
        "format": 1, "kind": "missingness", "seed": 0, "composes": composes, "labels": 1047, "right": 536, "images": 99,
        "views": {"as_is": row(0.845, 1.0), "constant": row(0.51), "noise": row(0.5, None),
                  "other_image": row(0.704), "shape_only": row(0.632)},
        "fills": {name: row(0.8 - 0.1 * n) for n, name in enumerate(fills)},
        "moves": [{"a": a, "b": b, "moved": 0.318 if b == "black" else 0.02, "rank": None if a == "blur" else 0.27}
                  for a, b in combinations(fills, 2)],
    }  # fmt: skip
    (root / "sidecars").mkdir(exist_ok=True)
    (root / "sidecars" / "weights_missingness.json").write_text(json.dumps(told, sort_keys=True))


def write_run(
    folder: Path, *, method: str, seed: int, dataset: str, samples: list[Sample], giou: float
) -> Path:
    """A run folder: run.json, a noisy falling log, and one result with predictions shifted more and more."""
    (folder / "results").mkdir(parents=True)
    rng = np.random.default_rng(seed)
    run = {"method": method, "seed": seed, "recipe": {"optim": {"steps": 500}}, "dataset": dataset}
    (folder / "run.json").write_text(json.dumps(run))
    lines = [
        {
            "step": step, "loss": 1.4 * np.exp(-step / 200) + 0.5 + 0.05 * rng.normal(), "bce": 0.3, "dice": 0.4,
            "weight_mean": 1.0, "grad_norm": float(rng.random() + 0.5), "lr": 1e-3 * (1 - step / 500),
            "samples_per_s": 310.0,
        }
        for step in range(0, 500, 5)
    ]  # fmt: skip
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows: list[dict[str, Any]] = []
    for number, sample in enumerate(samples):
        assert sample.gold is not None
        truth = sample.gold.array()
        shifted = np.roll(truth, number * truth.shape[1] // (2 * len(samples)), axis=1)
        coded = encode_mask(shifted)
        rows.append(
            {
                "sample_id": sample.id,
                "iou": sample.gold.iou(coded),
                "height": truth.shape[0],
                "width": truth.shape[1],
                "counts": coded.counts,
            }
        )
    pq.write_table(pa.Table.from_pylist(rows), folder / "results" / "test.parquet")
    part = {
        "samples": len(samples), "giou": giou, "ciou": giou + 0.02, "p50": giou - 0.1, "p90": 0.01,
        "n_acc": None, "t_acc": 1.0,
    }  # fmt: skip
    result = {
        "dataset": dataset, "samples": len(samples), "overall": part,
        "by_style": {"phrase": part, "all": {**part, "giou": giou - 0.05}}, "by_source": {"drawn": part},
        "worst": [{"id": row["sample_id"], "iou": row["iou"]} for row in rows[-3:]],
    }  # fmt: skip
    (folder / "results" / "test.json").write_text(json.dumps(result))
    return folder


def write_comparison(path: Path, table: dict[str, list[float]]) -> Path:
    """compare.json from gIoU by method and seed; cIoU is 0.01 above."""
    rows = [
        {"method": method, "seed": seed, "giou": value, "ciou": value + 0.01, "p50": None}
        for method, values in table.items()
        for seed, value in enumerate(values)
    ]
    stored = {
        "dataset": "drawn",
        "test": "drawn-test",
        "budget": {"steps": 500, "batch": 24},
        "rows": rows,
    }
    path.write_text(json.dumps(stored))
    return path
