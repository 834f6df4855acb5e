"""A finished dataset annotated again: its candidates stay, new experts join them, judges choose the label."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from annotators.choice import options_of
from annotators.protocols import Verdict
from annotators.registry import EXPERTS
from pipeline.build import build
from pipeline.config import Recipe, recipe_hash, validate
from pipeline.executors.local import run_local
from pipeline.line import resolve
from pipeline.reader import iterate_samples
from pipeline.validate import verify
from tests.e2e.lines import draw_items, job, recipe, tree

pytestmark = pytest.mark.slow


class RednessJudge:
    """A mask is worth the share of its pixels that are red; about instructions with "find" it says nothing."""

    name = "redness"

    def __init__(self, *, fails_on: str = "no such words") -> None:
        self.fails_on = fails_on

    def verify(self, images, instructions, masks):
        return [self.one(*row) for row in zip(images, instructions, masks, strict=True)]

    def one(self, image, texts, mask):
        if self.fails_on in texts[0]:
            return RuntimeError("cannot read")
        share = float(red(image)[mask].mean())
        return None if "find" in texts[0] else Verdict(validity=share, exhaustivity=share)


def red(image):
    return (image[..., 0] > 200) & (image[..., 1] < 60)


@pytest.fixture(autouse=True)
def judges(monkeypatch):
    monkeypatch.setitem(EXPERTS, "redness", "tests.e2e.test_join_choose:RednessJudge")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labels by three fakes, one instruction with "find"; every sample is kept."""
    folder = tmp_path_factory.mktemp("first")
    raw = recipe(draw_items(folder / "in", 12, texts={5: "find the red ball"}))
    raw["stages"]["keep"] = {"empty": "keep"}
    raw["stages"]["segment"]["experts"].pop()
    build(job(raw, folder / "out"), run_local)
    return folder / "out"


def again(root: Path, *, margin: float = 0.0, **judge: Any) -> dict[str, Any]:
    colour = {"use": "colour"}
    return {
        "name": "again",
        "unit_size": 5,
        "source": {"kind": "shards", "path": str(root), "incumbent": True},
        "stages": {
            "join": {"experts": [colour]},
            "choose": {"judges": [{"use": "redness", "options": judge}], "margin": margin},
            "score": {},
            "keep": {"empty": "keep"},
        },
    }


def by_id(root: Path) -> dict[str, Any]:
    return {sample.id: sample for sample in iterate_samples(root)}


def test_candidates_stay_and_the_new_ones_come_last(first, tmp_path):
    manifest = build(job(again(first), tmp_path / "two"), run_local)
    assert not verify(tmp_path / "two").problems
    before, after = by_id(first), by_id(tmp_path / "two")
    assert before.keys() == after.keys()
    joined = 0
    for name, sample in after.items():
        old = before[name].candidates
        assert sample.candidates[1 : 1 + len(old)] == old
        assert (sample.candidates[0].mask.array() == (before[name].label.mask >= 128)).all()
        assert sample.candidates[0].made_by.expert == "label"
        new = sample.candidates[1 + len(old) :]
        assert {c.made_by.expert for c in new} <= {"colour"}
        joined += len(new)
        assert dict(sample.quality.parts)["support"] <= 1.0
    assert joined >= 4
    assert [(e.stage, e.expert) for e in manifest.panel] == [
        ("join", "colour"),
        ("choose", "redness"),
    ]
    assert {e.stage for e in manifest.inherited} == {"rewrite", "ground", "segment"}


def test_the_label_is_the_vote_that_the_judge_likes_best(first, tmp_path):
    build(job(again(first), tmp_path / "two"), run_local)
    before, changed = by_id(first), 0
    for name, sample in by_id(tmp_path / "two").items():
        label = sample.label.mask >= 128
        old = before[name].label.mask >= 128
        if "find" in sample.instructions[0]:
            assert (label == old).all(), "where nobody judged the incumbent stays"
            continue
        image = decoded(sample)
        worths = [red(image)[v.mask].mean() for v in options_of(sample.candidates, old.shape)]
        assert red(image)[label].mean() == max(worths)
        changed += not np.array_equal(label, old)
        assert sample.label.rule == "choose"
        assert sample.label.members
    assert changed >= 6


def test_with_a_margin_of_one_every_label_stays(first, tmp_path):
    build(job(again(first, margin=1.0), tmp_path / "two"), run_local)
    before = by_id(first)
    for name, sample in by_id(tmp_path / "two").items():
        assert ((sample.label.mask >= 128) == (before[name].label.mask >= 128)).all()


def test_a_second_time_the_old_label_takes_the_place_of_the_older(first, tmp_path):
    build(job(again(first), tmp_path / "two"), run_local)
    build(job(again(tmp_path / "two"), tmp_path / "three"), run_local)
    for sample in iterate_samples(tmp_path / "three"):
        makers = [c.made_by.expert for c in sample.candidates]
        assert makers.count("label") == 1
        assert sample.candidates[0].made_by.model == "choose"


def test_a_judge_that_fails_is_a_fault_and_the_incumbent_stays(first, tmp_path):
    build(job(again(first, fails_on="the red ball"), tmp_path / "two"), run_local)
    assert not verify(tmp_path / "two").problems
    before, faults = by_id(first), 0
    for name, sample in by_id(tmp_path / "two").items():
        faults += any(line.startswith("redness: RuntimeError") for line in sample.faults)
        if sample.faults:
            assert ((sample.label.mask >= 128) == (before[name].label.mask >= 128)).all()
    assert faults >= 6


def test_how_units_are_cut_changes_no_sample(first, tmp_path):
    build(job(again(first), tmp_path / "a"), run_local)
    build(job(again(first) | {"unit_size": 12}, tmp_path / "b"), run_local)
    assert by_id(tmp_path / "a").keys() == by_id(tmp_path / "b").keys()
    for name, sample in by_id(tmp_path / "a").items():
        other = by_id(tmp_path / "b")[name]
        assert (sample.candidates, sample.label.members) == (other.candidates, other.label.members)
    build(job(again(first), tmp_path / "c"), run_local)
    assert tree(tmp_path / "a") == tree(tmp_path / "c")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fuse": {"rule": "best"}}, "'choose' fills 'label', which is filled already"),
        ({"choose": {"judges": []}}, "at least 1 item"),
        ({"join": {"experts": [{"use": "grabcut"}]}}, "'grabcut' is no TextSegmenter"),
        ({"choose": {"judges": [{"use": "colour"}]}}, "'colour' is no Verifier"),
    ],
)
def test_a_plan_that_cannot_work_is_refused(first, tmp_path, change, message):
    raw = again(first)
    raw["stages"] |= change
    with pytest.raises(ValueError, match=message):
        build(job(raw, tmp_path / "two"), run_local)


def test_the_old_label_is_no_candidate_where_candidates_are_made_again(first, tmp_path):
    raw = again(first)
    raw["source"]["keep"] = "phrases"
    with pytest.raises(ValueError, match="keep: candidates"):
        build(job(raw, tmp_path / "two"), run_local)


def test_recipes_without_the_two_stages_keep_their_hash(tmp_path):
    resolved = resolve(recipe(draw_items(tmp_path / "in", 2)))
    dumped = resolved.model_dump(mode="json")
    assert not {"join", "choose"} & dumped["stages"].keys()
    assert recipe_hash(validate(Recipe, dumped, "recipe")) == recipe_hash(resolved)


def decoded(sample):
    from pipeline.intake.images import decode

    return decode(sample.image)
