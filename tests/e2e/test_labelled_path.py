"""The labelled path: gold stays gold, human boxes become masks, enrichers write instructions, verifiers are heard."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from annotators.boxes import Box
from annotators.phrase import Phrase
from annotators.protocols import Image, Verdict
from annotators.registry import EXPERTS
from pipeline.build import build
from pipeline.executors.local import run_local
from pipeline.reader import iterate_samples
from pipeline.validate import verify
from tests.e2e.lines import draw_items, job


class Enricher:
    """Says where the target is, so that a test sees what it was told."""

    name = "told"
    reads_image = False

    def enrich(
        self,
        instructions: Sequence[Sequence[str]],
        boxes: Sequence[Sequence[Box]],
        images: Sequence[Image],
    ) -> list[list[Phrase]]:
        assert not images
        return [
            [
                Phrase(
                    text=f"look at {texts[0]} in {list(given)}", role="enriched", made_by=self.name
                )
            ]
            if given
            else []
            for texts, given in zip(instructions, boxes, strict=True)
        ]


class Absent:
    """A rewriter for which nothing but balls exists."""

    name = "absent"
    reads_image = False

    def rewrite(
        self, instructions: Sequence[Sequence[str]], images: Sequence[Image]
    ) -> list[list[Phrase]]:
        return [
            [Phrase(text=t[0], role="simplified" if "ball" in t[0] else "absent", made_by="absent")]
            for t in instructions
        ]


class Verifier:
    """Half sure of every mask; abstains on the pictures named odd, fails on those named bad."""

    name = "half_sure"

    def verify(
        self,
        images: Sequence[Image],
        instructions: Sequence[Sequence[str]],
        masks: Sequence[np.ndarray],
    ) -> list[Verdict | None]:
        assert all(mask.any() for mask in masks)
        return [
            ValueError("cannot say")  # type: ignore[misc]
            if "bad" in texts[0]
            else None
            if "odd" in texts[0]
            else Verdict(validity=0.5, exhaustivity=1.0)
            for texts in instructions
        ]


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, cls in (("told", "Enricher"), ("absent", "Absent"), ("half_sure", "Verifier")):
        monkeypatch.setitem(EXPERTS, name, f"{__name__}:{cls}")


def items(folder: Path, *entries: dict[str, Any]) -> Path:
    """Drawn pictures with these keys on their lines."""
    path = draw_items(folder, len(entries))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(a | b) + "\n" for a, b in zip(lines, entries, strict=True)))
    return path


def built(tmp_path: Path, source: Path, stages: dict[str, Any]) -> list[Any]:
    raw = {"name": "t", "source": {"kind": "jsonl", "path": str(source)}, "stages": stages}
    build(job(raw, tmp_path / "out"), run_local)
    assert not verify(tmp_path / "out").problems
    return list(iterate_samples(tmp_path / "out"))


def test_gold_is_the_label_and_enriched_instructions_join_the_raw_one(tmp_path: Path) -> None:
    gold = {"polygons": [[10.0, 10.0, 30.0, 10.0, 30.0, 30.0, 10.0, 30.0]]}
    source = items(tmp_path / "in", gold | {"instruction": "the red ball"}, gold)
    samples = built(
        tmp_path,
        source,
        {"enrich": {"experts": [{"use": "told"}]}, "adopt": {}, "fuse": {"rule": "best"}},
    )
    assert len(samples) == 2
    for sample in samples:
        assert sample.gold is not None
        assert ((sample.label.mask == 255) == sample.gold.array()).all()
        assert [c.made_by.expert for c in sample.candidates] == ["source"]
    assert [(p.role, p.made_by) for p in samples[0].phrases] == [
        ("raw", "source"),
        ("enriched", "told"),
    ]
    said = "look at the red ball in [(10.0, 10.0, 30.0, 30.0)]"
    assert samples[0].wordings == ("the red ball", said)


def test_human_boxes_are_cut_out_by_a_segmenter_without_becoming_gold(tmp_path: Path) -> None:
    box = {"extra": {"boxes": [[4, 5, 20, 25], [30, 5, 50, 30]]}}
    source = items(tmp_path / "in", box, {})
    samples = built(
        tmp_path,
        source,
        {
            "enrich": {"experts": [{"use": "told"}], "keep_raw": False},
            "boxes": {},
            "segment": {"experts": [{"use": "fake_segmenter"}]},
            "fuse": {"rule": "vote"},
            "score": {},
        },
    )
    boxed, bare = samples
    assert boxed.gold is None
    assert [p.box for p in boxed.proposals] == [(4.0, 5.0, 20.0, 25.0), (30.0, 5.0, 50.0, 30.0)]
    assert [c.proposal for c in boxed.candidates] == [0, 1]
    assert {c.boxed_by for c in boxed.candidates} == {"source@items"}
    assert boxed.label.box == (4.0, 5.0, 50.0, 30.0)
    assert "(4.0, 5.0, 20.0, 25.0)" in boxed.phrases[0].text
    assert (bare.phrases, bare.proposals, bare.candidates, bare.label.area) == ((), (), (), 0)


def test_a_box_outside_its_picture_is_quarantined_with_its_reason(tmp_path: Path) -> None:
    source = items(tmp_path / "in", {"extra": {"boxes": [[4, 5, 2000, 25]]}}, {})
    stages = {"boxes": {}, "segment": {"experts": [{"use": "fake_segmenter"}]}, "fuse": {}}
    assert [sample.id for sample in built(tmp_path, source, stages)] == ["s-0001"]
    (line,) = (tmp_path / "out" / "rejects" / "train-000000.jsonl").read_text().splitlines()
    assert "leaves the image" in json.loads(line)["detail"]


def test_an_absent_target_stops_the_panel_and_is_a_reason_of_its_own(tmp_path: Path) -> None:
    source = items(tmp_path / "in", {"instruction": "the red ball"}, {"instruction": "the unicorn"})
    (kept,) = built(
        tmp_path,
        source,
        {
            "rewrite": {"experts": [{"use": "absent"}, {"use": "fake_rewriter"}], "keep_raw": True},
            "ground": {"experts": [{"use": "fake_grounder"}]},
            "segment": {
                "experts": [
                    {"use": "fake_segmenter"},
                    {"use": "fake_faulty", "options": {"raise_on": "unicorn"}},
                ]
            },
            "fuse": {},
            "keep": {},
        },
    )
    assert kept.id == "s-0000"
    assert len(kept.candidates) == 2
    (line,) = (tmp_path / "out" / "rejects" / "train-000000.jsonl").read_text().splitlines()
    said = json.loads(line)
    assert said["reason"] == "target-absent"
    assert "absent finds no 'the unicorn'" in said["detail"]


def test_verdicts_are_parts_of_the_quality_and_never_drop_a_sample(tmp_path: Path) -> None:
    source = items(
        tmp_path / "in",
        {"instruction": "the red ball"},
        {"instruction": "the odd ball"},
        {"instruction": "the bad ball"},
    )
    panel = {
        "rewrite": {"experts": [{"use": "fake_rewriter"}]},
        "segment": {"experts": [{"use": "fake_faulty"}]},
        "fuse": {},
    }
    heard, odd, bad = built(
        tmp_path, source, panel | {"score": {"verifiers": [{"use": "half_sure"}]}, "keep": {}}
    )
    parts = dict(heard.quality.parts)
    assert (parts["validity"], parts["exhaustivity"]) == (0.5, 1.0)
    assert heard.quality.rule == "agreement+verifier"
    assert heard.quality.score == pytest.approx(0.5 * odd.quality.score + 0.25 * 0.5 + 0.25)
    assert odd.quality == bad.quality
    assert odd.quality.rule == "agreement"
    assert (odd.faults, bad.faults) == ((), ("half_sure: ValueError: cannot say",))
