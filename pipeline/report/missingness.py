"""The section on what missing pixels say: whether a discriminator knows labels by shape, and what a fill does.

Reads the sidecar of `maskmix missingness`, and results of `maskmix vqa-bench` that differ in how masks were shown.
Where there are none, the page says which command makes them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from pipeline.report.plots import Span, span_plot
from pipeline.report.runs import read_object

Section = dict[str, Any]
VIEWS = {
    "as_is": ("as it is", "nothing taken away"),
    "constant": ("one grey", "the photograph is one grey; mask and instruction stay"),
    "noise": ("noise", "the photograph is noise; mask and instruction stay"),
    "other_image": ("another photograph", "of the same data: what layout tells"),
    "shape_only": ("shape only", "one grey, and another sample's instruction: the mask alone"),
}
BLIND = ("constant", "noise", "shape_only")
"""Views without any photograph."""
SCORES = {"vstar": "overall", "egothink": "average", "pope": "accuracy"}
"""The number of each benchmark that is shown; POPE's is the mean over its settings."""


def missingness(root: Path, vqa: Sequence[Path] = ()) -> Section | None:
    """What `sidecars/weights_missingness.json` and the folders of vision-language benchmarks say; None without both.

    Raises:
        ValueError: a file is damaged or lacks a field; names it.
    """
    path = root / "sidecars" / "weights_missingness.json"
    judged = None
    if path.exists():
        try:
            judged = _judged(read_object(path))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is damaged: {error!r}; run `maskmix missingness`") from error
    effects = [_effect(folder) for folder in vqa]
    return {"judged": judged, "effects": effects} if judged or effects else None


def _judged(told: Mapping[str, Any]) -> Section:
    fills = list(dict.fromkeys(move[end] for end in ("a", "b") for move in told["moves"]))
    views = [(*VIEWS[name], told["views"][name]) for name in VIEWS]
    shown = "over {}" if told["composes"] else "masked, {}"
    moved = {frozenset((m["a"], m["b"])): m for m in told["moves"]}
    told_apart = [(VIEWS[n][0], told["views"][n]["auc"]) for n in BLIND if _apart(told["views"][n])]
    most = max(told["moves"], key=lambda m: m["moved"])
    spans = [
        Span(label=label, low=row["low"], value=row["auc"], high=row["high"], tone=tone)
        for tone, rows in (
            (1, [(label, row) for label, _, row in views]),
            (2, [(shown.format(name), told["fills"][name]) for name in fills]),
        )
        for label, row in rows
    ]
    return {
        "labels": told["labels"],
        "images": told["images"],
        "right": told["right"],
        "composes": told["composes"],
        "views": views,
        "fills": [(name, told["fills"][name]) for name in fills],
        "told_apart": told_apart,
        "most": most,
        "matrix": [
            (a, [moved.get(frozenset((a, b))) if a != b else None for b in fills]) for a in fills
        ],
        "plot": span_plot(
            spans,
            title="Right against wrong labels, with 95 % intervals",
            x_label="AUC",
            mark=0.5,
        ),
    }


def _apart(row: Mapping[str, Any]) -> bool:
    """Whether right and wrong labels differ, whichever scores higher."""
    return row["low"] > 0.5 or row["high"] < 0.5


def _effect(folder: Path) -> Section:
    """One `maskmix vqa-bench` folder: what was shown how, and the scores of whole and masked images."""
    path = folder / "results.json" if folder.is_dir() else folder
    told = read_object(path)
    try:
        plan, key = told["plan"], SCORES[told["plan"]["format"]]
        parts = [told["rows"]] if key != "accuracy" else list(told["rows"].values())
        scores = {name: fmean(part[name][key] for part in parts) for name in parts[0]}
        whole = scores.pop(plan["model"])
        return {
            "format": plan["format"],
            "score": key,
            "model": plan["model"],
            "masker": Path(plan["masker"]).name,
            "effect": plan["effect"] + (", cropped" if plan["crop"] else ""),
            "whole": whole,
            "masked": next(iter(scores.values()), None),
        }
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"{path} is no result of `maskmix vqa-bench`: {error!r}") from error
