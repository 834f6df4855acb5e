"""The camvid source: little street scenes, and the real ones where they are."""

from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pipeline.config import load_recipe
from pipeline.intake.camvid_words import CLASSES, HALF, WHOLE
from pipeline.intake.label_noise import SHARES, TOTAL
from pipeline.line import Job, Unit, make_line, resolve
from pipeline.records import Reject, Sample
from pipeline.sources import camvid
from pipeline.work import walk
from tests.pipeline.sources.files_for_tests import SIZE, load_all, reasons, save_image, the_sample

SKY, ROAD, CAR, UNLABELLED = (CLASSES.index(n) for n in ("sky", "road", "car", "unlabelled"))


def scene() -> np.ndarray:
    """Sky over road, a car on either side, one of them across the middle: uint8 (20, 30)."""
    classes = np.full(SIZE, ROAD, np.uint8)
    classes[:8] = SKY
    classes[10:14, 3:8] = CAR
    classes[10:14, 13:20] = CAR  # centre at 16.5 of 30: right
    classes[19, 0] = UNLABELLED
    return classes


def source(folder: Path, classes: np.ndarray | None = None, **options: Any) -> camvid.CamVid:
    save_image(folder / "s.jpg")
    cv2.imwrite(str(folder / "s.png"), scene() if classes is None else classes)
    return camvid.make(camvid.Config(path=folder, **options))


def test_every_visible_class_is_asked_for_and_its_gold_is_the_true_region(tmp_path: Path):
    got = source(tmp_path)
    samples = {sample.id: sample for sample in map(lambda n: the_sample(got, n), range(len(got)))}
    assert list(samples) == [
        f"camvid-s-{n}" for n in ("sky", "road", "car", "car-left", "car-right")
    ]
    assert got.fills == {"candidates"}
    for name, label in (("sky", SKY), ("road", ROAD), ("car", CAR)):
        sample = samples[f"camvid-s-{name}"]
        assert sample.gold is not None
        assert (sample.gold.array() == (scene() == label)).all()
        assert sample.instructions in WHOLE[name].values()
        assert WHOLE[name][sample.style] == sample.instructions
        assert sample.source.licence == "CC-BY-NC-4.0"


def test_a_car_across_the_middle_belongs_whole_to_the_half_of_its_centre(tmp_path: Path):
    got = source(tmp_path)
    left, right = (the_sample(got, n) for n in (3, 4))
    assert left.gold is not None
    assert right.gold is not None
    assert (left.gold.box(), right.gold.box()) == ((3, 10, 8, 14), (13, 10, 20, 14))
    assert "left" in left.instructions[0]
    assert "right" in right.instructions[0]


def test_stuff_is_cut_at_the_middle_of_the_picture():
    classes = np.full((4, 10), CLASSES.index("tree"), np.uint8)
    assert camvid.region(classes, CLASSES.index("tree"), "left").sum() == 20
    assert camvid.region(classes, CLASSES.index("tree"), "right")[:, 5:].all()


def test_small_regions_and_halves_can_be_left_out(tmp_path: Path):
    assert len(source(tmp_path, halves=False)) == 3
    assert len(source(tmp_path, min_area=0.3)) == 2
    assert reasons(source(tmp_path, min_area=0.9)) == ["nothing-visible"]


def test_without_noise_there_is_no_candidate_and_no_word_of_it(tmp_path: Path):
    got = source(tmp_path, noise=None)
    assert got.fills == frozenset()
    assert the_sample(got).candidates is None
    assert "noise" not in dict(the_sample(got).extra)


def test_at_rate_zero_every_candidate_is_the_truth(tmp_path: Path):
    got = source(tmp_path, noise={"rate": 0.0})
    for sample in load_all(got):
        assert isinstance(sample, Sample)
        assert sample.candidates is not None
        assert sample.candidates[0].mask == sample.gold
        assert dict(sample.extra)["noise"] == "none"


def test_a_candidate_says_nothing_of_whether_it_is_right(tmp_path: Path):
    said = set()
    for seed in range(20):
        for sample in load_all(source(tmp_path, noise={"rate": 0.7, "seed": seed})):
            assert isinstance(sample, Sample)
            assert sample.candidates is not None
            (candidate,) = sample.candidates
            said.add(
                (candidate.made_by, candidate.mask_score, candidate.stability, candidate.phrase)
            )
    assert len(said) == 1


def test_the_same_seed_gives_the_same_and_another_seed_another_choice(tmp_path: Path):
    first = load_all(source(tmp_path, noise={"rate": 0.7}))
    assert first == load_all(source(tmp_path, noise={"rate": 0.7}))
    assert any(
        first != load_all(source(tmp_path, noise={"rate": 0.7, "seed": n})) for n in (1, 2, 3)
    )


def test_bad_class_maps_are_rejects(tmp_path: Path):
    save_image(tmp_path / "none.jpg")
    for name, classes in {
        "colour": np.zeros((*SIZE, 3), np.uint8),
        "high": np.full(SIZE, 12, np.uint8),
        "other": np.zeros((3, 3), np.uint8),
    }.items():
        save_image(tmp_path / f"{name}.jpg")
        cv2.imwrite(str(tmp_path / f"{name}.png"), classes)
    save_image(tmp_path / "zero.jpg")
    (tmp_path / "zero.png").write_bytes(b"")
    got = camvid.make(camvid.Config(path=tmp_path))
    assert reasons(got) == [
        "mask-damaged",
        "mask-class",
        "mask-missing",
        "mask-size",
        "mask-damaged",
    ]
    assert isinstance(got.load(0), Reject)


def test_a_missing_or_empty_folder_is_an_error(tmp_path: Path):
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(ValueError, match=r"expected NAME\.jpg and NAME\.png"):
            camvid.make(camvid.Config(path=path))


def test_the_shipped_recipe_makes_labels_from_the_candidates_alone(tmp_path: Path):
    assert len(source(tmp_path)) == 5
    recipe = resolve(load_recipe("camvid", [f"source.path={tmp_path}"]))
    line = make_line(Job(recipe=recipe, root=tmp_path, base=tmp_path))
    assert [stage.name for stage in line.stages] == ["fuse", "score", "keep"]
    finished, rejects = walk(line, Unit(index=0, start=0, stop=5))
    assert (len(finished), rejects) == (5, [])


def test_templates_name_known_classes_and_keep_their_side():
    assert set(HALF) < set(WHOLE) == set(CLASSES) - {"unlabelled"}
    assert all(
        "{side}" in text for styles in HALF.values() for texts in styles.values() for text in texts
    )
    assert all(
        "{" not in text for styles in WHOLE.values() for texts in styles.values() for text in texts
    )


@pytest.mark.shared
@pytest.mark.slow
def test_the_real_validation_scenes_all_load(shared_data: Path):
    got = camvid.make(camvid.Config(path=shared_data / "camvid" / "val", split="validation"))
    assert len(got) > 1000
    assert set(reasons(got)) == {""}


@pytest.mark.shared
@pytest.mark.slow
def test_the_real_training_scenes_have_the_noise_and_gold_that_were_asked_for(shared_data: Path):
    got = camvid.make(camvid.Config(path=shared_data / "camvid" / "train"))
    samples = [the_sample(got, index) for index in range(0, len(got), 3)]
    counts = Counter(dict(sample.extra)["noise"] for sample in samples)
    assert counts["none"] / len(samples) == pytest.approx(1 - TOTAL, abs=0.03)
    for name, share in SHARES:
        assert counts[name] / len(samples) == pytest.approx(share, abs=0.03)
    roles = {sample.source.key: sample.gold_role for sample in samples}
    assert len(roles) == 367
    assert Counter(roles.values())["train"] / 367 == pytest.approx(0.11, abs=0.04)
