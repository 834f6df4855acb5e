"""Evidence in the masks: who is listed, what is drawn, and what a damaged result says."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.report.evidence import evidence
from pipeline.report.page import write_report
from pipeline.report.runs import Run, read_run
from tests.pipeline.datasets_for_tests import write_dataset
from tests.pipeline.report.inputs import drawn_sample, write_run


def told(inside: float, *, model: str = "org/clip") -> dict[str, Any]:
    """What `maskmix evaluate --evidence` stores, of a mask that leaves `1 - inside` outside."""
    means = {
        "whole": 0.3, "blank": 0.2, "insertion_auc": 0.28, "deletion_auc": 0.22, "insertion": [0.2, 0.29, 0.3],
        "deletion": [0.3, 0.21, 0.2], "left_outside": 1 - inside, "gold_left_outside": None, "undivided": 0,
    }  # fmt: skip
    return {"model": model, "revision": "a1", "samples": 5, "steps": 2, "least": 0.01,
            "baselines": {"blur": means, "grey": {**means, "whole": 0.31}}}  # fmt: skip


def asked(folder: Path, method: str, found: dict[str, Any] | None) -> Run:
    """A run whose only result holds `found`."""
    write_run(folder, method=method, seed=0, dataset="drawn", samples=[drawn_sample(1)], giou=0.4)
    path = folder / "results" / "test.json"
    stored = json.loads(path.read_text())
    path.write_text(json.dumps({**stored, "evidence": found} if found else stored))
    return read_run(folder)


def test_runs_that_nobody_was_asked_about_are_not_listed(tmp_path: Path):
    assert evidence([asked(tmp_path / "a", "uniform", None)]) == []


def test_each_model_that_was_asked_has_its_own_section(tmp_path: Path):
    runs = [
        asked(tmp_path / "a", "uniform", told(0.5)),
        asked(tmp_path / "b", "dwsl", told(0.75)),
        asked(tmp_path / "c", "dwsl", told(0.9, model="another/clip")),
    ]
    first, second = evidence(runs)
    assert (first["model"], second["model"]) == ("another/clip", "org/clip")
    assert [(row["name"], row["hidden_by"], row["left_outside"]) for row in second["rows"]] == [
        ("uniform · seed 0", "blur", 0.5),
        ("uniform · seed 0", "grey", 0.5),
        ("dwsl · seed 0", "blur", 0.25),
        ("dwsl · seed 0", "grey", 0.25),
    ]
    assert len(second["plots"]) == 4
    assert all(plot.count("<polyline") == 2 for plot in second["plots"])


def test_the_page_draws_the_curves_and_says_what_is_left_outside(tmp_path: Path):
    write_dataset(tmp_path / "drawn", [drawn_sample(n) for n in range(3)])
    run = asked(tmp_path / "a", "dwsl", told(0.75)).folder
    text = write_report(tmp_path / "drawn", runs=[run]).read_text()
    assert "Evidence in the masks on test" in text
    assert "Pixels give way to grey" in text
    assert "<td>0.220</td><td>0.300</td><td>0.200</td><td>0.250</td><td>–</td>" in text


def test_damaged_evidence_names_the_result(tmp_path: Path):
    broken = told(0.5)
    del broken["baselines"]["grey"]["deletion"]
    with pytest.raises(ValueError, match=r"b/results/test.json: its evidence is damaged.*deletion"):
        evidence(
            [asked(tmp_path / "a", "uniform", told(0.5)), asked(tmp_path / "b", "dwsl", broken)]
        )
