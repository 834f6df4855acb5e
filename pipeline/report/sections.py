"""The sections of a report, each from facts or files to what the template prints; None where there is nothing to say.

A section is a plain dict of numbers, tables and plots. Numbers are computed here and never in the template.
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from pipeline.report.facts import Facts, SampleFact, auc
from pipeline.report.plots import (
    Row,
    Series,
    dot_plot,
    histogram,
    legend,
    line_plot,
    share_bars,
    thin,
)
from pipeline.report.runs import (
    METRICS,
    Comparison,
    Run,
    read_discriminator,
    read_weights,
    tones_of,
)

Section = dict[str, Any]
HIT = 0.5
"""IoU with gold at which a label counts as right."""

CURVES = (
    ("loss", "loss"),
    ("weight_mean", "mean weight"),
    ("grad_norm", "gradient norm"),
    ("lr", "learning rate"),
)


def experts(facts: Facts) -> Section | None:
    """Coverage, agreement, and IoU with label and gold of each expert, beside the label and the best vote."""
    if not facts.experts:
        return None
    golden = [f for f in facts.samples if f.label_iou is not None]
    styles = sorted({f.style for f in golden} - {""})
    names = [e.name for e in facts.experts]
    agreement = {
        pair: mean for (a, b), mean in facts.agreement.items() for pair in ((a, b), (b, a))
    }
    rows = [
        {
            "name": expert.name,
            "coverage": expert.spoke / facts.seen,
            "candidates": expert.candidates / expert.spoke,
            "with_label": expert.with_label.value,
            "with_gold": expert.with_gold.value,
            "n": expert.with_gold.n,
            "styles": [expert.by_style[s].value if s in expert.by_style else None for s in styles],
        }
        for expert in facts.experts
    ]
    references = []
    if golden:
        references = [
            _reference("fused label", golden, styles, lambda f: f.label_iou),
            _reference("best vote (oracle)", golden, styles, lambda f: f.best_iou or 0.0),
        ]
    return {
        "rows": rows,
        "references": references,
        "styles": styles,
        "names": names,
        "matrix": [[agreement.get((a, b)) if a != b else None for b in names] for a in names],
        "silent": sum(f.empty for f in facts.samples),
        "faults": facts.faults,
    }


def labels(facts: Facts) -> Section | None:
    """IoU of the labels with gold overall and by style, and how much of the image labels cover."""
    if not facts.samples:
        return None
    golden = [f for f in facts.samples if f.label_iou is not None]
    targeted = [f for f in golden if not f.gold_empty]
    empty = [f for f in golden if f.gold_empty]
    groups = [("every style", targeted)]
    groups += [
        (s, [f for f in targeted if f.style == s])
        for s in sorted({f.style for f in targeted} - {""})
    ]
    return {
        "golden": len(golden),
        "rows": [_label_row(name, mine) for name, mine in groups if mine],
        "no_target": (sum(f.empty for f in empty), len(empty)),
        "iou_plot": _unit_histogram(
            [f.label_iou for f in targeted], title="Label IoU with gold", x_label="IoU", tone=1
        )
        if targeted
        else None,
        "area_plot": _unit_histogram(
            [f.area for f in facts.samples],
            title="Share of the image that the label covers",
            x_label="area / image",
            tone=2,
        ),
    }


def quality(facts: Facts) -> Section | None:
    """How quality is spread, and whether it tells right labels from wrong ones where gold can say."""
    scored = [f for f in facts.samples if f.quality is not None]
    if not scored:
        return None
    known = [
        (f.quality or 0.0, (f.label_iou or 0.0) >= HIT) for f in scored if f.label_iou is not None
    ]
    return {
        "n": len(scored),
        "mean": fmean(f.quality or 0.0 for f in scored),
        "auc": auc([q for q, _ in known], [good for _, good in known]),
        "known": len(known),
        "plot": _unit_histogram(
            [f.quality for f in scored], title="Quality of the labels", x_label="quality", tone=1
        ),
        "reliability": share_bars(
            _bins(known),
            title=f"Share of labels with IoU ≥ {HIT} by quality",
            x_label="quality (number of labels above each bar)",
            y_label="share right",
        )
        if known
        else None,
    }


def discriminator(root: Path) -> Section | None:
    """What the discriminator says of the machine labels: ROC, reliability, and the weights it leads to."""
    stored, weights = read_discriminator(root), read_weights(root)
    if stored is None and weights is None:
        return None
    section: Section = {
        "facts": stored or {},
        "roc": None,
        "reliability": None,
        "p_plot": None,
        "weight_plot": None,
    }
    if stored and (stored.get("roc") or {}).get("fpr"):
        points = tuple(zip(stored["roc"]["fpr"], stored["roc"]["tpr"], strict=True))
        section["roc"] = line_plot(
            [Series(label="p_clean", points=points, tone=1)],
            title="ROC: right against wrong machine labels, by audit gold",
            x_label="wrong labels taken for right",
            y_label="right labels found",
            x_range=(0, 1),
            y_range=(0, 1),
            diagonal=True,
        )
    if stored and stored.get("reliability"):
        bins = [
            (b["lo"], b["hi"], b["good_share"], b["n"])
            for b in stored["reliability"]
            if b["good_share"] is not None
        ]
        section["reliability"] = share_bars(
            bins,
            title="Share of right machine labels by p_clean",
            x_label="p_clean (number of labels above each bar)",
            y_label="share right",
        )
    if weights is not None:
        clean, weight = weights
        section["p_plot"] = _unit_histogram(clean, title="p_clean", x_label="p_clean", tone=1)
        counts, edges = np.histogram(weight, bins=20, range=(0.0, max([1.0, *weight])))
        section["weight_plot"] = histogram(
            counts.tolist(),
            edges.tolist(),
            title="Weights in the loss",
            x_label="weight",
            y_label="samples",
            tone=2,
        )
        section["zero"] = sum(w == 0 for w in weight)
        section["scored"] = len(weight)
    return section


def training(runs: Sequence[Run]) -> Section | None:
    """Training curves of all runs, one colour a method."""
    if not runs:
        return None
    tones = tones_of(runs)
    plots = []
    for key, label in CURVES:
        series = [
            Series(label=run.name, points=thin(curve), tone=tones[run.method])
            for run in runs
            if (curve := run.curve(key))
        ]
        if series:
            plots.append(line_plot(series, title=label.capitalize(), x_label="step", y_label=label))
    return {
        "plots": plots,
        "legend": legend([(run.method, tones[run.method]) for run in runs]),
        "rows": [
            {
                "name": run.name,
                "steps": run.steps,
                "dataset": Path(str(run.settings.get("dataset", ""))).name,
                "last": _last(run, "loss"),
                "speed": _last(run, "samples_per_s"),
            }
            for run in runs
        ],
    }


def evaluation(runs: Sequence[Run]) -> list[Section]:
    """One table per test: runs down, metrics across; and gIoU by style."""
    tests = sorted({result.name for run in runs for result in run.results})
    sections = []
    for test in tests:
        pairs = [(run, result) for run in runs for result in run.results if result.name == test]
        metrics = [m for m in METRICS if any(r.overall.get(m) is not None for _, r in pairs)]
        styles = sorted({style for _, r in pairs for style in r.by_style})
        sources = sorted({source for _, r in pairs for source in r.by_source})
        sections.append(
            {
                "name": test,
                "metrics": [METRICS[m] for m in metrics],
                "styles": styles,
                "sources": sources if len(sources) > 1 else [],
                "rows": [
                    {
                        "name": run.name,
                        "samples": r.samples,
                        "overall": [r.overall.get(m) for m in metrics],
                        "styles": [r.by_style.get(s, {}).get("giou") for s in styles],
                        "sources": [r.by_source.get(s, {}).get("giou") for s in sources],
                    }
                    for run, r in pairs
                ],
            }
        )
    return sections


def comparison_plot(found: Comparison) -> Any:
    """gIoU of every seed, a line per method."""
    rows = [
        Row(label=method.name, values=method.values.get("giou", ()), tone=number)
        for number, method in enumerate(found.methods)
    ]
    return dot_plot(rows, title="gIoU of every seed; the bar is their mean", x_label="gIoU")


def _reference(
    name: str, golden: Sequence[SampleFact], styles: Sequence[str], value: Any
) -> Section:
    def mean(mine: Sequence[SampleFact]) -> float | None:
        return fmean(value(f) for f in mine) if mine else None

    return {
        "name": name,
        "with_gold": mean(golden),
        "n": len(golden),
        "styles": [mean([f for f in golden if f.style == s]) for s in styles],
    }


def _label_row(name: str, mine: Sequence[SampleFact]) -> Section:
    ious = [f.label_iou or 0.0 for f in mine]
    return {
        "name": name,
        "n": len(mine),
        "mean": fmean(ious),
        "right": fmean(v >= HIT for v in ious),
        "empty": fmean(f.empty for f in mine),
        "best": fmean(f.best_iou or 0.0 for f in mine),
    }


def _unit_histogram(values: Sequence[Any], *, title: str, x_label: str, tone: int) -> Any:
    counts, edges = np.histogram(np.array(values, np.float64), bins=20, range=(0.0, 1.0))
    return histogram(
        counts.tolist(),
        [round(e, 2) for e in edges.tolist()],
        title=title,
        x_label=x_label,
        y_label="samples",
        tone=tone,
    )


def _bins(
    known: Sequence[tuple[float, bool]], n: int = 10
) -> list[tuple[float, float, float, int]]:
    places = [min(n - 1, int(value * n)) for value, _ in known]
    bins = []
    for number in range(n):
        mine = [good for place, (_, good) in zip(places, known, strict=True) if place == number]
        bins.append((number / n, (number + 1) / n, fmean(mine) if mine else 0.0, len(mine)))
    return bins


def _last(run: Run, key: str) -> float | None:
    curve = run.curve(key)
    return fmean(value for _, value in curve[-20:]) if curve else None
