"""The section on shapes and fills: what it says of a sidecar, of benchmarks side by side, and of damaged files."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.report.missingness import missingness
from pipeline.report.page import write_report
from pipeline.report.plots import Span, span_plot
from tests.pipeline.datasets_for_tests import write_dataset
from tests.pipeline.report.inputs import drawn_sample, write_missingness


def bench(folder: Path, *, format: str, effect: str, rows: dict[str, Any]) -> Path:
    """The results of one `maskmix vqa-bench`, as far as the page reads them."""
    folder.mkdir()
    plan: dict[str, Any] = {
        "format": format,
        "model": "org/vlm",
        "masker": "some/run",
        "effect": effect,
    }
    plan["crop"] = effect == "blur"
    (folder / "results.json").write_text(json.dumps({"plan": plan, "rows": rows}))
    return folder


def test_without_files_there_is_nothing_to_say(tmp_path: Path):
    assert missingness(tmp_path) is None


def test_views_that_tell_labels_apart_without_a_photograph_are_named(tmp_path: Path):
    write_missingness(tmp_path)
    found = missingness(tmp_path)
    assert found is not None
    judged = found["judged"]
    assert judged["told_apart"] == [("shape only", 0.632)]
    assert [name for name, _ in judged["fills"]] == ["white", "grey", "black", "blur", "mean"]
    assert judged["most"]["moved"] == 0.318
    matrix = dict(judged["matrix"])
    assert matrix["white"][0] is None
    assert matrix["black"][0]["moved"] == matrix["white"][2]["moved"] == 0.318
    assert "over black: 0.600, 0.570 to 0.630" in judged["plot"]


def test_the_page_says_it_in_words_and_tables(tmp_path: Path):
    write_dataset(tmp_path, [drawn_sample(n) for n in range(3)])
    write_missingness(tmp_path, composes=False)
    results = {"org/vlm": {"overall": 0.5}, "some/run + org/vlm": {"overall": 0.61}}
    pope = {
        setting: {"a + org/vlm": {"accuracy": v + 0.1}, "org/vlm": {"accuracy": v}}
        for setting, v in (("random", 0.8), ("popular", 0.6))
    }
    alone = {"org/vlm": {"overall": 0.4}}
    folders = [
        bench(tmp_path / "o", format="vstar", effect="overlay", rows=results),
        bench(tmp_path / "b", format="pope", effect="blur", rows=pope),
        bench(tmp_path / "n", format="vstar", effect="", rows=alone),
    ]
    found = missingness(tmp_path, folders)
    assert found is not None
    shown = [(e["effect"], e["whole"], e["masked"]) for e in found["effects"]]
    assert shown == [
        ("overlay", 0.5, 0.61),
        ("blur, cropped", pytest.approx(0.7), pytest.approx(0.8)),
        ("", 0.4, None),
    ]
    page = write_report(tmp_path, vqa=folders).read_text()
    assert "shape only 0.63" in page
    assert "which this judge was never taught on" in page
    assert "0.110" in page, "the gain of the overlay"
    plain = write_report(tmp_path, tmp_path / "plain.html").read_text()
    assert "Effects side by side" not in plain


@pytest.mark.parametrize("field", ["moves", "labels", "views"])
def test_a_file_that_lacks_a_field_is_named(tmp_path: Path, field: str):
    write_missingness(tmp_path)
    path = tmp_path / "sidecars" / "weights_missingness.json"
    told = json.loads(path.read_text())
    del told[field]
    path.write_text(json.dumps(told))
    with pytest.raises(
        ValueError, match=rf"weights_missingness.json is damaged: KeyError\('{field}'\)"
    ):
        missingness(tmp_path)  # fmt: skip


def test_a_folder_of_something_else_is_named(tmp_path: Path):
    (tmp_path / "results.json").write_text(json.dumps({"plan": {"format": "chess"}, "rows": {}}))
    with pytest.raises(ValueError, match="no result of `maskmix vqa-bench`"):
        missingness(tmp_path, [tmp_path])


def test_a_span_lies_about_its_dot_and_chance_is_marked():
    spans = [
        Span(label="a<b", low=0.4, value=0.5, high=0.7),
        Span(label="nan", low=0.1, value=float("nan"), high=0.2),
    ]
    drawn = span_plot(spans, title="t", x_label="AUC", mark=0.5)
    assert "a&lt;b: 0.500, 0.400 to 0.700" in drawn
    assert drawn.count('class="span') == 1
    assert 'class="diagonal"' in drawn
    assert "Nothing to draw" in span_plot(spans[1:], title="t", x_label="AUC", mark=0.5)
