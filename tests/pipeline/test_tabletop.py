"""The tabletop source: the same bytes everywhere, exact gold, and instructions that name one thing or set."""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.codec import sniff
from pipeline.intake.label_noise import Noise
from pipeline.records import Reject, Sample
from pipeline.source import Source
from pipeline.sources.tabletop import Config, draw, gold_role, make
from pipeline.tabletop.language import STYLES
from pipeline.tabletop.query import check

ROOT = Path(__file__).parents[2]
SMALL = (96, 128)
PROGRAM = """
import hashlib, sys
from pipeline.sources.tabletop import Config, make
source = make(Config(seed=5, count=6, size_hw=(96, 128)), "jpg")
for i in map(int, sys.argv[1:]):
    s = source.load(i)
    print(i, hashlib.sha256(s.image + repr((s.id, s.instructions, s.gold, s.style)).encode()).hexdigest())
"""


def digests(*indices: int) -> dict[str, str]:
    command = [sys.executable, "-c", PROGRAM, *map(str, indices)]
    out = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return dict(line.split() for line in out.splitlines())  # type: ignore[misc]


@pytest.mark.slow
def test_processes_agree_byte_for_byte_in_any_order() -> None:
    forwards, backwards = digests(0, 1, 2, 5), digests(5, 2, 1, 0)
    assert forwards == backwards
    assert len(set(forwards.values())) == 4


def test_a_sample_is_complete_and_honest_about_its_bytes() -> None:
    source: Source = make(Config(count=3, size_hw=SMALL), "jpg")
    assert len(source) == 3
    assert source.fills == frozenset()
    sample = source.load(1)
    assert isinstance(sample, Sample)
    assert sample.id == "tabletop-000000-1"
    assert sniff(sample.image) == "jpg"
    assert sample.source.image_sha256 == hashlib.sha256(sample.image).hexdigest()
    assert sample.source.licence == "CC0-1.0"
    decoded = cv2.imdecode(np.frombuffer(sample.image, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    assert decoded.shape == (*SMALL, 3)
    assert sample.gold is not None
    assert sample.gold.size_hw == SMALL


def test_png_holds_the_picture_without_loss() -> None:
    config = Config(size_hw=SMALL)
    drawn = draw(config, number=0, image_format="png")
    decoded = cv2.imdecode(np.frombuffer(drawn.image, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    np.testing.assert_array_equal(decoded[..., ::-1], drawn.picture.rgb)


@pytest.mark.slow
def test_every_instruction_names_one_set_and_gold_is_its_visible_pixels() -> None:
    config = Config(seed=2, count=90, size_hw=SMALL, samples_per_scene=3, no_target_fraction=0.2)
    source, styles, words = make(config, "jpg"), set(), set()
    for number in range(30):
        drawn = source.scene(number)
        for which, question in enumerate(drawn.questions):
            sample = source.load(3 * number + which)
            assert isinstance(sample, Sample)
            verdict = check(question.query, drawn.view)
            assert not verdict.doubt
            assert sample.gold is not None
            seen = np.isin(drawn.picture.ids, sorted(verdict.targets))
            np.testing.assert_array_equal(sample.gold.array(), seen)
            assert (sample.gold.area() == 0) == (sample.style == "none")
            assert all(drawn.view.sights[i].clear for i in verdict.targets)
            assert 2 <= len(sample.instructions) <= 4
            assert len(set(sample.instructions)) == len(sample.instructions)
            for text in sample.instructions:
                assert (
                    re.fullmatch(r"[A-Za-z]+(,? [a-z]+)*[.?]?", text, re.ASCII) or " I " in text
                ), text
                assert not re.search(r"none|\bthe the\b", text, re.IGNORECASE), text
                words |= set(re.findall(r"[a-z]+", text.lower()))
            styles.add(sample.style)
    assert styles == set(STYLES)
    assert {"left", "on", "all", "where"} <= words


@pytest.mark.slow
def test_without_places_things_are_told_by_what_they_are_alone() -> None:
    queries = [
        [
            question.query
            for number in range(4)
            for question in draw(config, number=number, image_format="jpg").questions
        ]
        for config in (
            Config(size_hw=SMALL, samples_per_scene=8, no_target_fraction=0.2, places=places)
            for places in (True, False)
        )
    ]
    with_places, without = queries
    assert any(q.relation or q.rank for q in with_places)
    assert not any(q.relation or q.rank for q in without)
    assert {q.how for q in without} == {"one", "all", "none"}


@pytest.mark.slow
def test_pictures_of_other_seeds_and_starts_differ() -> None:
    images = {
        make(Config(size_hw=SMALL, seed=seed, start=start), "jpg").load(0).image  # type: ignore[union-attr]
        for seed, start in ((0, 0), (1, 0), (0, 100_000))
    }
    assert len(images) == 3


@pytest.mark.slow
def test_the_role_of_gold_belongs_to_the_scene_and_follows_the_fraction() -> None:
    config = Config(gold_fraction=0.12)
    share = np.mean([gold_role(config, number=n) == "train" for n in range(4000)])
    assert abs(share - 0.12) < 0.02
    assert gold_role(Config(gold_fraction=0), number=1) == "audit"
    assert gold_role(Config(gold_fraction=1), number=1) == "train"
    source = make(Config(size_hw=SMALL, count=4, gold_fraction=0.5), "jpg")
    roles = [source.load(i).gold_role for i in range(4)]  # type: ignore[union-attr]
    assert roles[0] == roles[1]
    assert roles[2] == roles[3]


@pytest.mark.slow
def test_a_scene_that_allows_too_few_questions_is_a_reject() -> None:
    source = make(Config(size_hw=(480, 48), count=2, no_target_fraction=0), "jpg")
    outcomes = [source.load(0), source.load(1)]  # nothing fits into so narrow a view
    assert [o.reason for o in outcomes if isinstance(o, Reject)] == ["scene-without-question"] * 2
    assert [o.sample_id for o in outcomes if isinstance(o, Reject)] == [
        "tabletop-000000-0",
        "tabletop-000000-1",
    ]


def test_a_picture_size_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="48 to 2048"):
        make(Config(size_hw=(10, 480)), "jpg")


@pytest.mark.slow
def test_with_noise_each_sample_is_born_with_a_candidate_that_is_the_truth_or_says_what_was_done() -> (
    None
):
    source: Source = make(Config(count=8, size_hw=SMALL, noise=Noise(rate=0.6)), "jpg")
    assert source.fills == {"candidates"}
    kinds = set()
    for i in range(8):
        sample = source.load(i)
        assert isinstance(sample, Sample)
        assert sample.candidates is not None
        assert sample.gold is not None
        (candidate,) = sample.candidates
        kind = dict(sample.extra)["noise"]
        assert (candidate.mask == sample.gold) == (kind == "none")
        kinds.add(kind)
    assert "none" in kinds
    assert len(kinds) > 1
