"""The part of the evaluation on evidence: how much of what speaks for an instruction lies inside a run's masks.

Reads what `maskmix evaluate --evidence MODEL` adds to a result (data_cards/FORMAT.md); nothing where no run was asked.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from pipeline.report.plots import Series, legend, line_plot
from pipeline.report.runs import Run, tones_of

Section = dict[str, Any]
MOVES = {
    "insertion": ("Pixels enter the {}", "share of pixels shown"),
    "deletion": ("Pixels give way to {}", "share of pixels hidden"),
}
NUMBERS = ("insertion_auc", "deletion_auc", "whole", "blank", "left_outside", "gold_left_outside")


def evidence(runs: Sequence[Run]) -> list[Section]:
    """One section for each test and each model that was asked about it, in order of their names.

    Raises:
        ValueError: a result lacks a field; names it.
    """
    found: dict[tuple[str, str], list[Section]] = {}
    for run in runs:
        for result in run.results:
            if result.evidence is not None:
                rows = _rows(run, result.name, result.evidence)
                found.setdefault((result.name, str(result.evidence.get("model"))), []).extend(rows)
    tones = tones_of(runs)
    return [_section(test, model, found[test, model], tones) for test, model in sorted(found)]


def _rows(run: Run, test: str, told: Mapping[str, Any]) -> list[Section]:
    """What one run was told, a row for each picture that hides."""
    try:
        return [
            {
                "name": run.name,
                "method": run.method,
                "hidden_by": baseline,
                "samples": told["samples"],
                **{key: means[key] for key in (*NUMBERS, *MOVES)},
            }
            for baseline, means in told["baselines"].items()
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{run.folder}/results/{test}.json: its evidence is damaged: {error!r}; run `maskmix evaluate "
            f"{run.folder} ... --evidence MODEL` again"
        ) from error


def _section(test: str, model: str, rows: Sequence[Section], tones: Mapping[str, int]) -> Section:
    hidden_by = dict.fromkeys(row["hidden_by"] for row in rows)
    return {
        "test": test,
        "model": model,
        "rows": rows,
        "plots": [
            _plot(move, name, [row for row in rows if row["hidden_by"] == name], tones)
            for name in hidden_by
            for move in MOVES
        ],
        "legend": legend([(row["method"], tones[row["method"]]) for row in rows]),
    }


def _plot(move: str, baseline: str, rows: Sequence[Section], tones: Mapping[str, int]) -> Markup:
    """The mean curves of all runs over one baseline."""
    title, share = MOVES[move]
    series = [
        Series(
            label=row["name"],
            points=tuple((k / (len(row[move]) - 1), v) for k, v in enumerate(row[move])),
            tone=tones[row["method"]],
        )
        for row in rows
    ]
    return line_plot(
        series, title=title.format(baseline), x_label=share, y_label="score", x_range=(0, 1)
    )
