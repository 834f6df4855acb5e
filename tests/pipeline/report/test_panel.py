"""The panel section: every expert of the recipe with what it gave and cost, and honest where that is not recorded."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.build import build
from pipeline.executors.local import run_local
from pipeline.manifest import MANIFEST, read_manifest, write_json
from pipeline.report.facts import gather
from pipeline.report.page import write_report
from pipeline.report.panel import panel
from tests.e2e.lines import draw_items, job, recipe


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight samples by a panel in which one expert is silent, one fails once, and one costs calls."""
    folder = tmp_path_factory.mktemp("panel")
    items = draw_items(folder / "items", 8, {3: "the cursed ball"})
    raw = recipe(items, raise_on="cursed")
    raw["stages"]["segment"]["experts"] += [
        {"use": "fake_text_segmenter", "options": {"abstain": 1.0}},
        {"use": "fake_payer"},
    ]
    raw["budget"] = {"calls": 100, "prompt_price": 1000.0, "completion_price": 2000.0}
    build(job(raw, folder / "out"), run_local)
    return folder / "out"


def rows(root: Path) -> dict[tuple[str, int], dict[str, Any]]:
    manifest = read_manifest(root)
    found = panel(root, manifest, gather(root))
    assert found is not None
    places = [(e.stage, e.position) for e in manifest.panel]
    return dict(zip(places, found["rows"], strict=True))


def test_every_expert_of_the_recipe_has_a_row_the_silent_one_too(built):
    found = rows(built)
    assert len(found) == 7
    silent = found["segment", 3]
    assert silent["name"].startswith("fake_text_segmenter #")
    assert (silent["usage"].asked, silent["usage"].abstained, silent["coverage"]) == (8, 8, 0.0)
    assert silent["in_labels"] == 0.0
    assert silent["score"] is None
    other = found["segment", 1]
    assert other["name"] != silent["name"]
    assert other["coverage"] == 1.0


def test_what_was_asked_and_failed_is_what_happened(built):
    faulty = rows(built)["segment", 2]
    counts = [getattr(faulty["usage"], c) for c in ("asked", "answered", "abstained", "failed")]
    assert counts == [8, 7, 0, 1]
    assert faulty["coverage"] == 7 / 8
    assert faulty["score"] == 0.5


def test_a_share_in_labels_is_counted_through_boxes_and_phrases(built):
    from pipeline.reader import iterate_samples

    found = rows(built)
    samples = list(iterate_samples(built))
    from_boxes = [
        any((s.candidates or ())[m].proposal is not None for m in s.label.members) for s in samples
    ]
    assert sum(from_boxes) > 0
    assert found["ground", 0]["in_labels"] == sum(from_boxes) / 8
    assert found["segment", 0]["in_labels"] == sum(from_boxes) / 8
    assert found["rewrite", 0]["in_labels"] == 1.0
    assert found["rewrite", 0]["score"] is None
    assert 0 < found["ground", 0]["score"] < 1


def test_cost_is_the_ledgers_with_the_prices_of_the_recipe(built):
    found = panel(built, read_manifest(built), gather(built))
    assert found is not None
    assert list(found["spent"]) == ["fake_payer"]
    cost = found["spent"]["fake_payer"]
    assert (cost.calls, cost.completion_tokens) == (8, 8)
    assert cost.money == pytest.approx((1000 * cost.prompt_tokens + 2000 * 8) / 1e6)
    assert found["total"] == cost
    page = write_report(built, built.parent / "page.html").read_text()
    assert f"<td>{cost.money:.4f}</td>" in page


def test_after_a_pull_the_page_says_what_is_not_recorded(built, tmp_path):
    root = tmp_path / "pulled"
    shutil.copytree(built, root, ignore=shutil.ignore_patterns("usage", "spending.jsonl"))
    found = rows(root)
    assert all(row["usage"] is None for row in found.values())
    assert found["segment", 2]["score"] == 0.5
    page = write_report(root).read_text()
    assert page.count(">not recorded<") == 7
    assert "<code>usage/</code> stays on the machine" in page
    assert "<code>spending.jsonl</code> stays on the machine" in page


def test_a_missing_unit_and_a_missing_price_are_said(built, tmp_path):
    root = tmp_path / "part"
    shutil.copytree(built, root)
    (root / "usage" / "train-000001.json").unlink()
    (root / "usage" / "budget.json").unlink()
    page = write_report(root).read_text()
    assert "recorded for 1 of 2 units" in page
    assert "gives no prices" in page


def test_weights_stand_with_revision_and_licence_and_an_unknown_one_is_marked(built, tmp_path):
    root = tmp_path / "weights"
    shutil.copytree(built, root)
    manifest = read_manifest(root)
    told = {"model": "org/<sam>", "revision": "abcdef0123456789", "licence": "unknown"}
    seats = [
        entry.model_copy(update=told) if entry.stage == "ground" else entry
        for entry in manifest.panel
    ]
    write_json(root / MANIFEST, manifest.model_copy(update={"panel": seats}))
    page = write_report(root).read_text()
    assert "org/&lt;sam&gt;" in page
    assert '<code title="abcdef0123456789">abcdef012345</code>' in page
    assert "do not say their licence" in page
    assert "do not say their licence" not in write_report(built, tmp_path / "p.html").read_text()


def test_the_report_of_a_build_is_the_same_twice(built, tmp_path):
    pages = [write_report(built, tmp_path / name).read_bytes() for name in ("a.html", "b.html")]
    assert pages[0] == pages[1]


def test_damaged_prices_are_named(built, tmp_path):
    root = tmp_path / "damaged"
    shutil.copytree(built, root)
    (root / "usage" / "budget.json").write_text("{")
    with pytest.raises(ValueError, match=r"(?s)budget\.json is not readable.*delete it"):
        write_report(root)
