"""A study in a report: for every bench one dot plot a cell, and how the methods fare as noise grows.

Reads study.json of `maskmix study`, in which every cell holds what its compare.json does. Methods keep their colour
over all plots, and those of most cells have colours of their own.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from pipeline.report.plots import Row, Series, dot_plot, legend, line_plot
from pipeline.report.runs import read_object

METRIC = "giou"


def study(path: Path) -> dict[str, Any]:
    """The section of one study.json.

    Raises:
        ValueError: the file is damaged or holds no cell; names it.
    """
    stored = read_object(path)
    cells = stored.get("cells")
    if not isinstance(cells, list) or not cells or not all("rows" in cell for cell in cells):
        raise ValueError(f"{path} holds no cells with rows; run `maskmix study` again")
    heard = Counter(method for cell in cells for method in _values(cell))
    tones = {method: tone for tone, (method, _) in enumerate(heard.most_common())}
    benches = dict.fromkeys(str(cell["bench"]) for cell in cells)
    return {
        "name": stored.get("study", ""),
        "benches": [
            _bench(name, [c for c in cells if c["bench"] == name], tones) for name in benches
        ],
    }


def _bench(
    name: str, cells: Sequence[Mapping[str, Any]], tones: Mapping[str, int]
) -> dict[str, Any]:
    plots = [_dots(cell, tones) for cell in cells]
    golds = sorted({cell["gold"] for cell in cells})
    over_noise = [
        (gold, lines)
        for gold in golds
        if (lines := _lines([c for c in cells if c["gold"] == gold], tones))
    ]
    plots += [
        line_plot(
            lines,
            title=f"gIoU as noise grows, {gold:.0%} gold",
            x_label="share of spoiled machine labels",
            y_label="gIoU",
            dots=True,
        )
        for gold, lines in over_noise
    ]
    drawn = [(s.label, s.tone) for _, lines in over_noise for s in lines]
    return {"name": name, "plots": plots, "legend": legend(drawn) if drawn else None}


def _dots(cell: Mapping[str, Any], tones: Mapping[str, int]) -> Any:
    values = _values(cell)
    order = sorted(values, key=lambda method: -fmean(values[method]))
    rows = [Row(label=m, values=tuple(values[m]), tone=tones[m]) for m in order]
    return dot_plot(rows, title=f"{cell['cell']}: gIoU of every seed", x_label="gIoU")


def _lines(cells: Sequence[Mapping[str, Any]], tones: Mapping[str, int]) -> list[Series]:
    """Mean gIoU over noise of the methods that ran at more than one noise."""
    points: dict[str, list[tuple[float, float]]] = {}
    for cell in cells:
        if cell["noise"] is not None:
            for method, values in _values(cell).items():
                points.setdefault(method, []).append((float(cell["noise"]), fmean(values)))
    return [
        Series(label=method, points=tuple(sorted(mine)), tone=tones[method])
        for method, mine in points.items()
        if len(mine) > 1
    ]


def _values(cell: Mapping[str, Any]) -> dict[str, list[float]]:
    values: dict[str, list[float]] = {}
    for row in cell["rows"]:
        values.setdefault(row["method"], []).append(float(row[METRIC]))
    return values
