"""An ablation: every arm from one beginning through the same ends, found again, and run once where nothing differs."""

import json
from pathlib import Path

import pytest

from trainer.ablation import Ablation
from trainer.study_file import load, run

SIZE = ["source.size_hw=[96, 128]", "source.count=8"]
LITTLE = ["data.size_hw=[16, 24]", "data.batch=4"]
SIZES = "{patch: 8, dim: 16, depth: 1, heads: 2, table_hw: [2, 3]}"


def ablation(**changes: object) -> dict:
    return {
        "name": "tiny",
        "seeds": 1,
        "axis": "mask ratio",
        "benches": {
            "tables": {
                "build": "tabletop-noisy",
                "set": SIZE,
                "test_set": [*SIZE, "source.start=1000", "split=test", "source.noise.rate=0"],
                "pretrain": [*LITTLE, f"encoder={SIZES}", "optim.steps=2", "optim.warmup=0"],
                "fit": [*LITTLE, "optim.steps=2"],
            }
        },
        "arms": [
            {"name": "scratch", "fit": [f"model.encoder={SIZES}"]},
            {"name": "random", "recipe": "mim"},
        ],
        "ends": [
            {
                "name": "probe",
                "recipe": "vit",
                "set": ["model.train_encoder=false", "model.head=linear"],
            },
            {"name": "whole", "recipe": "vit"},
        ],
        "places": [
            {"x": 0.5, "pretrain": ["masking.ratio=0.5"]},
            {"x": 0.75, "pretrain": ["masking.ratio=0.75"]},
        ],
        **changes,
    }


def read(folder: Path, **changes: object) -> Ablation:
    path = folder / "study.yaml"
    path.write_text(json.dumps(ablation(**changes)))
    found = load(str(path))
    assert isinstance(found, Ablation)
    return found


@pytest.mark.slow
def test_arms_are_pre_trained_trained_and_measured_and_found_done_the_next_time(tmp_path: Path):
    study, out = read(tmp_path), tmp_path / "out"
    said: list[str] = []
    facts = run(study, out=out, data=None, workers=1, tell=said.append)
    names = [cell["cell"] for cell in facts["cells"]]
    assert names == [
        "tables-probe-0.5",
        "tables-probe-0.75",
        "tables-whole-0.5",
        "tables-whole-0.75",
    ]
    assert {(cell["group"], cell["x"]) for cell in facts["cells"]} == {
        (group, x) for group in ("probe", "whole") for x in (0.5, 0.75)
    }
    runs = {path.name for path in (out / "tables").iterdir()}
    assert runs == {"scratch-0", "random-0.5-0", "random-0.75-0"}
    recipes = [
        json.loads((out / "tables" / f"random-{x}-0" / "encoder" / "run.json").read_text())
        for x in ("0.5", "0.75")
    ]
    assert [r["recipe"]["masking"]["ratio"] for r in recipes] == [0.5, 0.75]
    for name in ("probe", "whole"):
        fitted = json.loads((out / "tables" / "random-0.5-0" / name / "run.json").read_text())
        assert fitted["recipe"]["model"]["pretrained"].endswith("random-0.5-0/encoder")
    at = {cell["cell"]: {row["method"]: row["giou"] for row in cell["rows"]} for cell in facts["cells"]}  # fmt: skip
    assert at["tables-probe-0.5"]["scratch"] == at["tables-probe-0.75"]["scratch"]
    told = (out / "study.txt").read_text()
    assert "tables-whole-0.75" in told
    assert "tables, whole: giou along mask ratio" in told
    said.clear()
    again = run(study, out=out, data=None, workers=1, tell=said.append)
    assert again == facts
    assert not any(line.startswith("$") for line in said)


@pytest.mark.slow
def test_a_place_may_change_the_trainings_and_then_every_arm_is_run_there(tmp_path: Path):
    places = [{"x": x, "fit": [f"data.fraction={x}"]} for x in (0.5, 1.0)]
    study = read(tmp_path, places=places, ends=[{"name": "whole", "recipe": "vit"}])
    run(study, out=tmp_path / "out", data=None, workers=1, tell=lambda line: None)
    found = {
        path.parts[-3]: json.loads(path.read_text())["recipe"]["data"].get("fraction", 1.0)
        for path in (tmp_path / "out" / "tables").glob("*/whole/run.json")
    }
    assert found == {
        "scratch-0.5-0": 0.5,
        "scratch-1-0": 1.0,
        "random-0.5-0": 0.5,
        "random-1-0": 1.0,
    }


@pytest.mark.parametrize(("name", "arms"), [("mim", 6), ("hide", 5), ("cfm", 8)])
def test_the_shipped_ablations_can_be_read(name: str, arms: int):
    found = load(name)
    assert isinstance(found, Ablation)
    assert len(found.arms) == arms


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": [{"name": "a"}, {"name": "a"}]}, "arms has a name twice"),
        ({"arms": [{"name": "a", "recipe": "mmi"}]}, "mmi"),
        ({"arms": [{"name": "a", "fit": ["model.depht=2"]}]}, "depht"),
        ({"places": [{"x": 0.5, "pretrain": ["masking.ratio=2"]}]}, "masking.ratio"),
    ],
)
def test_a_file_that_names_what_is_not_there_is_refused(
    tmp_path: Path, changes: dict, message: str
):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, **changes)
