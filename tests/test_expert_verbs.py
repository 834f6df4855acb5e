"""`maskmix experts` as people meet it: listing, trying one on a photograph, asking whether a recipe's are ready."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from maskmix import app


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["experts", *words])


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    picture = np.full((96, 128, 3), 150, np.uint8)
    cv2.circle(picture, (64, 48), 20, (30, 30, 200), -1)
    path = tmp_path / "ball.png"
    cv2.imwrite(str(path), picture)
    return path


def test_alone_it_lists_the_experts_with_their_roles() -> None:
    assert run().stdout == run("list").stdout
    rows = json.loads(run("list", "--json").stdout)["experts"]
    assert {"name": "rules", "roles": "rewriter"}.items() <= rows[
        [row["name"] for row in rows].index("rules")
    ].items()


def test_a_tried_expert_prints_its_answers_and_draws_them(photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "drawn.png"
    done = run("try", "colour", "the red ball", "--image", str(photo), "--out", str(out), "--json")
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout.splitlines()[0])
    (mask,) = facts["masks"]
    assert mask["area"] == pytest.approx(np.pi * 20**2, rel=0.1)
    assert facts["identity"]["expert"] == "colour"
    drawn, plain = cv2.imread(str(out)), cv2.imread(str(photo))
    assert drawn is not None
    assert plain is not None
    changed = (drawn != plain).any(axis=2)
    assert changed[48, 64]
    assert not changed[5, 5]


def test_a_box_is_tried_on_a_segmenter(photo: Path, tmp_path: Path) -> None:
    out = ("--out", str(tmp_path / "drawn.png"))
    done = run("try", "fake_segmenter", "--image", str(photo), "--box", "10,10,60,40", *out)
    assert "masks     area 1" in done.stdout
    assert "box (10.0, 10.0, 60.0, 40.0)" in done.stdout


def test_a_rewriter_needs_no_photograph() -> None:
    assert "text the red ball" in run("try", "rules", "could you fetch the red ball?").stdout


def test_an_expert_that_finds_nothing_says_so(photo: Path) -> None:
    assert "it abstained" in run("try", "colour", "the thing", "--image", str(photo)).stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["try", "colour", "the red ball"], "as text segmenter: --image"),
        (["try", "fake_segmenter", "--image", "PHOTO"], "as segmenter: --box"),
        (["try", "colur", "x"], "did you mean 'colour'"),
        (["try", "grabcut", "--image", "PHOTO", "--box", "1,2,3"], "expected x1,y1,x2,y2"),
        (["try", "grabcut", "--image", "PHOTO", "--box", "1,2,900,40"], "leaves the image"),
        (["try", "regions", "x", "--set", "sed=1", "--image", "PHOTO"], "unknown option of expert"),
        (["doctor", "--recipe", "lit"], "did you mean 'lite'"),
    ],
)
def test_what_is_missing_is_named(words: list[str], message: str, photo: Path) -> None:
    done = run(*(str(photo) if word == "PHOTO" else word for word in words))
    assert isinstance(done.exception, ValueError)
    assert message in str(done.exception)


def test_the_doctor_finds_the_experts_that_need_nothing_ready() -> None:
    done = run("doctor", "--recipe", "lite", "--json")
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)["experts"]
    assert [(r["stage"], r["identity"]["expert"]) for r in rows[:3]] == [
        ("rewrite", "rules"), ("ground", "regions"), ("segment", "regions"),
    ]  # fmt: skip
    assert all(row["seconds"] is not None and not row["trouble"] for row in rows)


def test_the_doctor_names_each_expert_that_is_not_ready_and_goes_on() -> None:
    broken = "stages.segment.experts=[{use: fake_faulty, options: {raise_on: box}}, {use: colour}]"
    done = run("doctor", "--recipe", "lite", "--set", broken)
    assert done.exit_code == 1
    assert "NOT READY  segment/fake_faulty" in done.stdout
    assert "ready      segment/colour" in done.stdout


def test_the_doctor_names_weights_that_are_not_there_and_how_to_get_them(tmp_path: Path) -> None:
    nowhere = f"stages.segment.experts=[{{use: clipseg, options: {{model: {tmp_path}/none}}}}]"
    done = run("doctor", "--recipe", "lite", "--set", nowhere)
    assert done.exit_code == 1
    assert f"segment/clipseg: {tmp_path}/none, weights missing" in done.stdout
    assert "no such file or folder" in done.stdout


def test_fakes_are_listed_only_when_asked_for() -> None:
    shown = [json.loads(run("list", *more, "--json").stdout) for more in ((), ("--fakes",))]
    names = [{row["name"] for row in each["experts"]} for each in shown]
    assert not any(name.startswith("fake_") for name in names[0])
    assert names[0] < names[1]
