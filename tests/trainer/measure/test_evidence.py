"""Insertion, deletion and what is left outside, by scorers whose answers are known, and in what `evaluate` writes."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from annotators.masks import BoolMask
from annotators.protocols import Image
from maskmix import app
from tests.annotators.models.tiny_models import save
from trainer.config import TrainRecipe
from trainer.fit import fit
from trainer.measure import evidence as module
from trainer.measure.evaluate import evaluate
from trainer.measure.evidence import (
    BASELINES,
    Evidence,
    Scorer,
    Witness,
    area_under,
    evidence_lines,
    image_text_witness,
    measure_evidence,
    rank_pixels,
    summarise_evidence,
)
from trainer.measure.fills import FILLS, fill

PHOTO: Image = (np.random.default_rng(0).integers(0, 2, (20, 40, 3)) * 255).astype(np.uint8)
"""Every value is 0 or 255, so that no pixel survives a blur or a grey."""
REGION = np.zeros((20, 40), bool)
REGION[5:15, 10:30] = True  # a quarter
EMPTY = np.zeros_like(REGION)


def sees(region: BoolMask) -> Scorer:
    """The share of a region whose pixels are those of the photograph."""

    def score(pictures: Sequence[Image], text: str) -> np.ndarray:
        return np.array([(p == PHOTO).all(2)[region].mean() for p in pictures])

    return score


def ask(mask: np.ndarray, *, scorer: Scorer | None = None, steps: int = 20) -> dict[str, Evidence]:
    return measure_evidence(
        PHOTO, mask.astype(np.float32), "the thing", mask=mask >= 0.5, gold=REGION,
        scorer=scorer or sees(REGION), steps=steps,
    )  # fmt: skip


@pytest.mark.parametrize("baseline", BASELINES)
def test_a_perfect_mask_has_the_areas_that_geometry_gives(baseline: str):
    found = ask(REGION)[baseline]
    assert (found.whole, found.blank) == (1.0, 0.0)
    wanted = [min(1.0, k / 20 / 0.25) for k in range(21)]
    assert found.insertion == pytest.approx(wanted)
    assert found.deletion == pytest.approx([1 - share for share in wanted])
    assert area_under(found.insertion) == pytest.approx(1 - 0.25 / 2)
    assert area_under(found.deletion) == pytest.approx(0.25 / 2)
    worst = ask(~REGION)[baseline]
    assert area_under(worst.insertion) == pytest.approx(0.25 / 2)


@pytest.mark.parametrize("baseline", BASELINES)
def test_a_shifted_or_a_random_order_is_worse_both_ways(baseline: str):
    perfect = ask(REGION)[baseline]
    for other in (np.roll(REGION, 8, axis=1), np.random.default_rng(1).random(REGION.shape)):
        found = ask(other)[baseline]
        assert area_under(found.insertion) < area_under(perfect.insertion) - 0.05
        assert area_under(found.deletion) > area_under(perfect.deletion) + 0.05
    assert area_under(found.insertion) == pytest.approx(0.5, abs=0.05), "a random order is a half"


def test_what_is_left_outside_is_0_for_a_perfect_mask_1_for_none_and_between_for_a_half():
    half = REGION.copy()
    half[:, :20] = False
    masks = (REGION, ~EMPTY, EMPTY, half)
    for mask, share in zip(masks, (0.0, 0.0, 1.0, 0.5), strict=True):
        for found in ask(mask).values():
            assert found.left_outside == pytest.approx(share)
            assert found.without_gold == 0.0


@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_the_more_of_the_region_is_shown_the_higher_the_curve(seed: int, steps: int):
    order = np.random.default_rng(seed).random(REGION.shape).round(1)
    for found in ask(order, steps=steps).values():
        assert len(found.insertion) == len(found.deletion) == steps + 1
        assert (np.diff(found.insertion) >= 0).all()
        assert (np.diff(found.deletion) <= 0).all()
        assert found.insertion[-1] == found.deletion[0] == found.whole == 1.0
        assert found.insertion[0] == found.deletion[-1] == found.blank == 0.0
        assert found.left_outside is not None
        assert 0 <= found.left_outside <= 1


def test_the_curves_are_those_of_three_plain_lines():
    def score(pictures: Sequence[Image], text: str) -> np.ndarray:
        weight = np.random.default_rng(7).normal(size=PHOTO.shape)
        return np.array([(p / 255.0 * weight).sum() for p in pictures])

    p = np.random.default_rng(3).random(REGION.shape).astype(np.float32)
    found = measure_evidence(
        PHOTO, p, "", mask=p > 0.5, gold=REGION, scorer=score, steps=10
    )["blur"]  # fmt: skip
    curve, order, blank = [], np.argsort(-p.ravel()), fill(PHOTO, "blur")
    for k in range(11):
        picture = blank.copy().reshape(-1, 3)
        picture[order[: 80 * k]] = PHOTO.reshape(-1, 3)[order[: 80 * k]]
        curve.append(score([picture.reshape(PHOTO.shape)], "")[0])
    assert found.insertion == pytest.approx(curve)
    assert area_under(found.insertion) == pytest.approx(np.trapezoid(curve, dx=0.1))


def test_pixels_of_one_probability_come_in_no_order_and_in_the_same_each_time():
    flat = rank_pixels(np.zeros((30, 30), np.float32))
    assert sorted(flat.ravel()) == list(range(900))
    assert np.array_equal(flat, rank_pixels(np.ones((30, 30), np.float32)))
    down = np.corrcoef(flat.ravel(), np.arange(900))[0, 1]
    assert abs(down) < 0.1
    assert rank_pixels(np.array([[0.1, 0.9, 0.5]], np.float32)).tolist() == [[2, 0, 1]]


def test_without_evidence_there_is_no_share_and_means_are_of_those_with_some():
    blind = ask(REGION, scorer=lambda pictures, text: np.full(len(pictures), 0.3))
    assert blind["grey"].left_outside is None
    misled = ask(REGION, scorer=lambda pictures, text: -sees(REGION)(pictures, text))
    assert misled["grey"].left_outside is None, "the blank says more than the photograph"
    who = Witness(model="m", revision="r", score=sees(REGION))
    nobody = summarise_evidence([blind, misled], witness=who)["baselines"]["grey"]
    assert (nobody["left_outside"], nobody["undivided"]) == (None, 2)
    little = ask(EMPTY, scorer=lambda pictures, text: 0.1 * sees(REGION)(pictures, text))
    facts = summarise_evidence([blind, ask(REGION), little], witness=who)
    grey = facts["baselines"]["grey"]
    assert grey["undivided"] == 1
    assert grey["left_outside"] == pytest.approx(0.1 / 1.1, abs=1e-6), "by how much there was"
    assert any("0.091" in line for line in evidence_lines(facts))
    with pytest.raises(ValueError, match="no sample has a target"):
        summarise_evidence([], witness=who)


def test_large_photographs_are_asked_about_small_and_a_few_at_a_time(monkeypatch):
    monkeypatch.setattr(module, "MOST_PX", 20)
    monkeypatch.setattr(module, "AT_ONCE", 5)
    seen = []

    def score(pictures: Sequence[Image], text: str) -> np.ndarray:
        seen.append([picture.shape for picture in pictures])
        return np.zeros(len(pictures))

    ask(REGION, scorer=score, steps=10)
    assert {shape for shapes in seen for shape in shapes} == {(10, 20, 3)}
    assert max(map(len, seen)) == 5
    assert sum(map(len, seen)) == 43


def test_what_a_user_or_a_scorer_gets_wrong_is_said():
    with pytest.raises(ValueError, match="gold of"):
        measure_evidence(
            PHOTO, np.zeros((20, 40), np.float32), "", mask=EMPTY, gold=EMPTY[:5], scorer=sees(REGION)
        )  # fmt: skip
    with pytest.raises(ValueError, match="0 steps"):
        ask(REGION, steps=0)
    with pytest.raises(ValueError, match="finite number"):
        ask(REGION, scorer=lambda pictures, text: np.full(len(pictures), np.nan))
    with pytest.raises(ValueError, match="fill 'pink'"):
        fill(PHOTO, "pink")


@pytest.mark.parametrize("kind", FILLS)
def test_fills_have_the_size_of_the_picture_and_leave_it_alone(kind: str):
    before = PHOTO.copy()
    filled = fill(PHOTO, kind)
    assert (filled.shape, filled.dtype) == (PHOTO.shape, np.uint8)
    assert np.array_equal(PHOTO, before)
    assert abs(filled.mean() - {"white": 255, "grey": 128, "black": 0}.get(kind, PHOTO.mean())) < 3


@pytest.fixture
def run(squares: Path, recipe: TrainRecipe, tmp_path: Path) -> Path:
    return fit(squares, recipe, out=tmp_path / "run")


def test_evaluate_adds_what_a_witness_says_and_changes_nothing_else(run: Path, squares_test: Path):
    def redness(pictures: Sequence[Image], text: str) -> np.ndarray:
        channel = 0 if "red" in text else 2
        return np.array([(p[..., channel] > p[..., 1] + 80).mean() * 4 for p in pictures])

    plain = evaluate(run, squares_test)
    who = Witness(model="redness", revision="1", score=redness)
    asked = evaluate(run, squares_test, witness=who)
    assert {key: asked[key] for key in plain} == plain
    assert set(asked) - set(plain) == {"evidence"}
    assert asked == json.loads((run / "results" / "squares-test-train.json").read_text())
    found = asked["evidence"]
    assert (found["model"], found["samples"], found["steps"]) == ("redness", 16, 10)
    assert found["baselines"]["grey"]["gold_left_outside"] == 0.0
    assert found["baselines"]["grey"]["blank"] == 0.0
    assert found["baselines"]["grey"]["undivided"] == 0


@pytest.mark.slow
def test_an_image_text_model_is_asked_from_the_command_line(
    run: Path, squares_test: Path, tmp_path: Path
):
    model = str(save("clip", tmp_path / "clip"))
    words = ["evaluate", str(run), str(squares_test), "--evidence", model]
    said = CliRunner().invoke(app, words)
    assert said.exception is None, said.exception
    assert "evidence, hidden by" in said.stdout
    assert f"by {model} on 16 samples with a target" in said.stdout
    told = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    stored = json.loads((run / "results" / "squares-test-train.json").read_text())
    assert told["evidence"] == stored["evidence"]
    witness = image_text_witness(model)
    assert told["evidence"]["revision"] == witness.revision
    pictures = [PHOTO, np.full_like(PHOTO, 128)]
    assert np.ptp(witness.score(pictures, "the red mug")) > 1e-4
    refused = CliRunner().invoke(app, [*words, "--protocol", "refcoco"])
    assert "--evidence goes with the plain evaluation" in str(refused.exception)
