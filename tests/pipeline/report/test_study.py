"""The study section: a plot for every cell, lines along the axis, and colours that stay with their methods."""

import json
from pathlib import Path

import pytest

from pipeline.report.study import study


def cell(bench: str, noise: float | None, gold: float, table: dict[str, list[float]]) -> dict:
    name = f"{bench}-{noise}-{gold}"
    rows = [
        {"method": m, "seed": s, "giou": v} for m, values in table.items() for s, v in enumerate(values)
    ]  # fmt: skip
    return {"cell": name, "bench": bench, "x": noise, "group": f"{gold:.0%} gold", "rows": rows}


def write(path: Path, cells: list[dict]) -> Path:
    path.write_text(json.dumps({"study": "weights", "x": "noise", "cells": cells}))
    return path


def test_every_cell_has_its_dots_and_methods_of_several_places_their_lines(tmp_path: Path):
    path = write(
        tmp_path / "study.json",
        [
            cell("streets", 0.5, 0.1, {"rare": [0.1], "uniform": [0.3, 0.4], "dwsl": [0.5]}),
            cell("streets", 0.7, 0.1, {"uniform": [0.2], "dwsl": [0.4]}),
            cell("tables", None, 0.1, {"uniform": [0.2]}),
        ],
    )
    found = study(path)
    streets, tables = found["benches"]
    assert (streets["name"], len(streets["plots"])) == ("streets", 3)
    dots, _, lines = map(str, streets["plots"])
    assert dots.index("dwsl") < dots.index("uniform") < dots.index("rare")
    assert "10% gold" in lines
    assert "uniform" in str(streets["legend"])
    assert "rare" not in str(streets["legend"])
    assert len(tables["plots"]) == 1
    assert tables["legend"] is None


@pytest.mark.parametrize("cells", [[], [{"cell": "a"}]])
def test_a_file_without_cells_is_refused(tmp_path: Path, cells: list):
    with pytest.raises(ValueError, match="no cells with rows"):
        study(write(tmp_path / "study.json", cells))
