"""A study in a report: for every bench one dot plot a cell, and how the methods fare along the study's axis.

Reads study.json of `maskmix study`: cells of methods and seeds, each with a place on the axis that the study varies
(noise, mask ratio) or none. Methods keep their colour over all plots; those of most cells have one of their own.
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
    if (
        not isinstance(cells, list)
        or not cells
        or not all({"rows", "x"} <= cell.keys() for cell in cells)
    ):
        raise ValueError(f"{path} holds no cells with rows; run `maskmix study` again")
    heard = Counter(method for cell in cells for method in _values(cell))
    tones = {method: tone for tone, (method, _) in enumerate(heard.most_common())}
    benches = dict.fromkeys(str(cell["bench"]) for cell in cells)
    return {
        "name": stored.get("study", ""),
        "benches": [
            _bench(name, [c for c in cells if c["bench"] == name], tones, axis=str(stored["x"]))
            for name in benches
        ],
    }


def _bench(
    name: str, cells: Sequence[Mapping[str, Any]], tones: Mapping[str, int], *, axis: str
) -> dict[str, Any]:
    plots = [_dots(cell, tones) for cell in cells]
    along = [
        (group, lines)
        for group in dict.fromkeys(str(cell["group"]) for cell in cells)
        if (lines := _lines([c for c in cells if c["group"] == group], tones))
    ]
    plots += [
        line_plot(lines, title=f"gIoU, {group}", x_label=axis, y_label="gIoU", dots=True)
        for group, lines in along
    ]
    drawn = [(s.label, s.tone) for _, lines in along for s in lines]
    return {"name": name, "plots": plots, "legend": legend(drawn) if drawn else None}


def _dots(cell: Mapping[str, Any], tones: Mapping[str, int]) -> Any:
    values = _values(cell)
    order = sorted(values, key=lambda method: -fmean(values[method]))
    rows = [Row(label=m, values=tuple(values[m]), tone=tones[m]) for m in order]
    return dot_plot(rows, title=f"{cell['cell']}: gIoU of every seed", x_label="gIoU")


def _lines(cells: Sequence[Mapping[str, Any]], tones: Mapping[str, int]) -> list[Series]:
    """Mean gIoU along the axis of the methods that ran at more than one place of it."""
    points: dict[str, list[tuple[float, float]]] = {}
    for cell in cells:
        if cell["x"] is not None:
            for method, values in _values(cell).items():
                points.setdefault(method, []).append((float(cell["x"]), fmean(values)))
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
