"""The section on what `maskmix calibrate` learnt: how far each expert can be trusted, and what the score is worth.

Reads two sidecars and nothing else; where a dataset has none, the page says which command makes them.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipeline.report.facts import short_names
from pipeline.report.plots import share_bars
from pipeline.report.runs import read_object

Section = dict[str, Any]
JUDGES = {
    "score": "quality score",
    "calibrated": "calibrated, out of fold",
    "cleanlab": "cleanlab softmin of the panel's agreement",
}


def trust(root: Path) -> Section | None:
    """Rates by expert and style from sidecars/reliability.json, and the calibration beside it; None without the first.

    Raises:
        ValueError: a sidecar is damaged or lacks a field; names it.
    """
    learnt = _told(root, "reliability", _reliability)
    return (
        None
        if learnt is None
        else {**learnt, "calibration": _told(root, "calibration", _calibration)}
    )


def _told(root: Path, name: str, say: Callable[[Mapping[str, Any]], Section]) -> Section | None:
    path = root / "sidecars" / f"{name}.json"
    if not path.exists():
        return None
    try:
        return say(read_object(path))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged: {error!r}; run `maskmix calibrate {root}`") from error


def _reliability(table: Mapping[str, Any]) -> Section:
    overall, styles = table["overall"], {s: t for s, t in table["styles"].items() if s}
    names = short_names(overall)
    return {
        "samples": table["samples"],
        "iterations": table["iterations"],
        "converged": table["converged"],
        "golden": any(row["gold"] for row in overall.values()),
        "styles": [(style, table["samples_by_style"][style]) for style in styles],
        "rows": [
            {
                "name": names[voter],
                "coverage": row["coverage"],
                "samples": row["samples"],
                "learnt": (row["sensitivity"], row["specificity"]),
                "true": (row["true_sensitivity"], row["true_specificity"]),
                "cells": [_cell(rates[voter]) for rates in styles.values()],
            }
            for voter, row in overall.items()
        ],
    }


def _cell(row: Mapping[str, Any]) -> Section:
    """One expert in one style; `informed` is sensitivity + specificity - 1: 0 is chance, 1 is never wrong."""
    return {
        "spoke": row["samples"],
        "sensitivity": row["sensitivity"],
        "specificity": row["specificity"],
        "informed": max(0.0, row["sensitivity"] + row["specificity"] - 1.0),
    }


def _calibration(table: Mapping[str, Any]) -> Section:
    return {
        "n": table["n"],
        "right_share": table["right_share"],
        "before": table["ece_before"],
        "after": table["ece_after"],
        "judges": [
            (label, table["judges"][name]["auc"], table["judges"][name]["spearman"])
            for name, label in JUDGES.items()
            if name in table["judges"]
        ],
        "plots": [
            share_bars(
                [(b["lo"], b["hi"], b["share"], b["n"]) for b in table[key]],
                title=title,
                x_label=f"{x} (number of labels above each bar)",
                y_label="share right",
            )
            for key, title, x in (
                ("bins_before", "As scored: share of right labels", "quality score"),
                ("bins_after", "Calibrated, out of fold: share of right labels", "chance told"),
            )
        ],
    }
