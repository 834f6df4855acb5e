"""A study: what its file may say, what it runs, and that it goes on where it stood."""

import json
from pathlib import Path

import pytest

from trainer.study import Study, choose, run_study
from trainer.study_file import load

CELLS = [
    {"bench": "tables", "noise": 0.5, "gold": 0.5, "methods": ["gold-only", "uniform"]},
    {"bench": "tables", "noise": 0.2, "gold": 0.5, "seeds": 2},
]


def study(**changes: object) -> dict:
    size = ["source.size_hw=[96, 128]", "source.count=8"]
    return {
        "name": "tiny",
        "seeds": 1,
        "best": 1,
        "best_of": {"tables": "tables-noise50-gold50"},
        "always": ["uniform"],
        "benches": {
            "tables": {
                "build": "tabletop-noisy",
                "set": size,
                "test_set": [*size, "source.start=1000", "split=test", "source.noise.rate=0"],
                "noise": "source.noise.rate",
                "trainer": "tiny",
                "trainer_set": ["optim.steps=3", "data.size_hw=[16, 24]", "data.batch=4"],
            }
        },
        "cells": CELLS,
        **changes,
    }


def weighting(folder: Path, **changes: object) -> Study:
    found = load(write(folder / "study.yaml", study(**changes)))
    assert isinstance(found, Study)
    return found


def write(path: Path, raw: dict) -> str:
    path.write_text(json.dumps(raw))
    return str(path)


@pytest.mark.slow
def test_a_study_builds_trains_and_chooses_and_is_found_done_the_next_time(tmp_path: Path):
    found = weighting(tmp_path)
    said: list[str] = []
    facts = run_study(found, out=tmp_path / "out", data=None, workers=1, tell=said.append)
    assert [cell["cell"] for cell in facts["cells"]] == [
        "tables-noise50-gold50",
        "tables-noise20-gold50",
    ]
    first, second = ({row["method"] for row in cell["rows"]} for cell in facts["cells"])
    assert first == second == {"gold-only", "uniform"}
    seeds = [sorted({row["seed"] for row in cell["rows"]}) for cell in facts["cells"]]
    assert seeds == [[0], [0, 1]]
    assert sum(line.startswith("$ maskmix build") for line in said) == 3
    assert "gold-only" in (tmp_path / "out" / "study.txt").read_text()
    runs = [json.loads(p.read_text()) for p in sorted((tmp_path / "out").glob("*/*/run.json"))]
    assert {run["recipe"]["weight"]["noise_rate"] for run in runs} == {0.5, 0.2}
    said.clear()
    again = run_study(found, out=tmp_path / "out", data=None, workers=1, tell=said.append)
    assert again == facts
    assert not any(line.startswith("$") for line in said)
    bench = found.benches["tables"]
    other = bench.model_copy(update={"set": (*bench.set, "source.no_target_fraction=0.3")})
    changed = found.model_copy(update={"benches": {**found.benches, "tables": other}})
    with pytest.raises(
        ValueError, match=r"another recipe .source\.no_target_fraction: .* 0\.3 now"
    ):
        run_study(changed, out=tmp_path / "out", data=None, workers=1, tell=said.append)


def test_the_shipped_study_can_be_read():
    found = load("weighting")
    assert isinstance(found, Study)
    assert len(found.cells) == 13


def test_the_best_are_those_with_the_highest_mean_and_the_baselines_come_along():
    found = Study.model_validate(study(best=2, always=["uniform", "clean-only"]))
    rows = [
        {"method": m, "giou": g}
        for m, g in [
            ("uniform", 0.9),
            ("a", 0.2),
            ("b", 0.4),
            ("b", 0.5),
            ("c", 0.3),
            ("perfect-filter", 0.95),
            ("clean-only", 1.0),
        ]
    ]
    assert choose({"rows": rows}, found) == ("uniform", "clean-only", "b", "c")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"cells": [{"bench": "chairs", "noise": 0.5, "gold": 0.5, "methods": ["uniform"]}]},
            "no bench 'chairs'",
        ),
        (
            {"cells": [{"bench": "tables", "gold": 0.5, "methods": ["uniform"]}]},
            "noise is given just where",
        ),
        ({"cells": CELLS[1:]}, "names no earlier cell"),
        ({"cells": [{**CELLS[0], "methods": ["unifrom"]}]}, "did you mean 'uniform'"),
        ({"cells": [CELLS[0], dict(CELLS[0])]}, "two cells have one name"),
    ],
)
def test_a_file_that_names_what_is_not_there_is_refused(
    tmp_path: Path, changes: dict, message: str
):
    with pytest.raises(ValueError, match=message):
        load(write(tmp_path / "study.yaml", study(**changes)))


def test_a_bench_that_needs_data_says_so(tmp_path: Path):
    raw = study()
    raw["benches"]["tables"]["set"] = ["source.path={data}/x"]
    found = load(write(tmp_path / "study.yaml", raw))
    assert isinstance(found, Study)
    with pytest.raises(ValueError, match="give --data FOLDER"):
        run_study(found, out=tmp_path / "out", data=None, workers=1, tell=lambda line: None)
