"""The ivm_mix source: little archives as published, and the defects of the official reader, each absent here."""

import json
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from annotators.fusion import SATURATION
from pipeline.sources import ivm_mix
from tests.pipeline.sources.files_for_tests import reasons, save_image, the_sample

BIG = (64, 96)
BLOCKS = np.repeat(np.array([0, 85, 170, 255], np.uint8), 24)[None, :].repeat(64, axis=0)
"""Agreement of none, one, two and three experts of three, in columns of 24 pixels."""


def save_mask(path: Path, levels: NDArray[np.uint8]) -> None:
    """As published: three equal channels, JPEG."""
    cv2.imwrite(str(path), np.repeat(levels[..., None], 3, axis=2), [cv2.IMWRITE_JPEG_QUALITY, 90])


def archive(
    folder: Path, *lines: dict[str, Any] | bytes, levels: NDArray[np.uint8] = BLOCKS
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    texts: list[bytes] = []
    for line in lines:
        texts.append(line if isinstance(line, bytes) else json.dumps(line).encode())
        if isinstance(line, dict) and "uuid" in line:
            picture = np.asarray(Image.open(save_image(folder / "x.png")).resize(BIG[::-1]))
            cv2.imwrite(str(folder / f"img_{line['uuid']}.jpg"), picture)
            save_mask(folder / f"mask_{line['uuid']}.jpg", levels)
    (folder / "data.jsonl").write_bytes(b"\n".join(texts) + b"\n")
    return folder


def source(folder: Path, part: str = "machine", **options: Any) -> ivm_mix.IvmMix:
    return ivm_mix.make(ivm_mix.Config.model_validate({"path": folder, "part": part, **options}))


def line(uuid: Any = "a1", **more: Any) -> dict[str, Any]:
    return {"uuid": uuid, "instruction": ["the mug", "Where is the mug?"], **more}


def test_people_s_masks_become_gold_at_half_level(tmp_path: Path):
    got = source(archive(tmp_path, line(), levels=(BLOCKS >= 85).astype(np.uint8) * 255), "human")
    sample = the_sample(got)
    assert got.fills == frozenset()
    assert (sample.id, sample.instructions) == (
        "ivm-mix-human-a1",
        ("the mug", "Where is the mug?"),
    )
    assert sample.gold is not None
    assert (sample.gold.array() == (BLOCKS >= 85)).all()
    assert (sample.candidates, sample.label) == (None, None)


def test_machine_masks_keep_the_level_of_agreement_as_it_is(tmp_path: Path):
    got = source(archive(tmp_path, line()))
    sample = the_sample(got)
    assert got.fills == {"candidates", "label"}
    assert (sample.gold, sample.candidates is not None) == (None, True)
    assert sample.label is not None
    assert (sample.label.kind, sample.label.members) == ("soft", (0,))
    for column, level in ((8, 0), (36, 85), (60, 170), (88, 255)):
        assert abs(int(sample.label.mask[32, column]) - level) <= 3
    (candidate,) = sample.candidates or ()
    assert np.abs(candidate.mask.array().astype(int) - (BLOCKS >= 128)).mean() < 0.01
    assert candidate.mask_score == pytest.approx((170 + 255) / 2 / 255, abs=0.02)
    assert candidate.stability == pytest.approx(1 / 3, abs=0.02)
    assert candidate.made_by.expert == "ivm_mix"


def test_two_masks_of_different_agreement_do_not_end_alike(tmp_path: Path):
    weak = archive(tmp_path / "weak", line(), levels=(BLOCKS > 128).astype(np.uint8) * 170)
    full = archive(tmp_path / "full", line(), levels=(BLOCKS > 128).astype(np.uint8) * 255)
    a, b = the_sample(source(weak)).label, the_sample(source(full)).label
    assert a is not None
    assert b is not None
    assert int(b.mask.max()) - int(a.mask.max()) > 75


def test_saturation_is_the_reader_s_and_only_on_request(tmp_path: Path):
    home = archive(tmp_path, line())
    plain, raised = the_sample(source(home)).label, the_sample(source(home, saturate=True)).label
    assert plain is not None
    assert raised is not None
    reader = cv2.convertScaleAbs(plain.mask, alpha=SATURATION, beta=0)
    assert np.abs(raised.mask.astype(int) - reader).max() <= 1
    assert abs(int(raised.mask[32, 60]) - 255) <= 5
    with pytest.raises(ValueError, match="saturate is for part: machine"):
        source(home, "human", saturate=True)


def test_a_mask_of_zeros_is_an_empty_label_and_an_empty_gold(tmp_path: Path):
    home = archive(tmp_path, line(), levels=np.zeros(BIG, np.uint8))
    sample = the_sample(source(home))
    assert sample.label is not None
    assert (sample.label.area, sample.label.members, sample.candidates) == (0, (), ())
    assert not sample.label.mask.any()
    gold = the_sample(source(home, "human")).gold
    assert gold is not None
    assert gold.area() == 0


def test_a_single_text_is_one_phrasing_and_not_its_letters(tmp_path: Path):
    got = source(archive(tmp_path, line(instruction="the mug")))
    assert the_sample(got).instructions == ("the mug",)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"{", "entry-not-json"),
        (b"[" * 100_000, "entry-not-json"),
        (b"\xff", "entry-not-json"),
        (b"[]", "entry-key-type"),
        ({"instruction": "x"}, "entry-key-type"),
        (line({"a": 1}), "entry-key-type"),
        (line("../../etc/passwd"), "entry-key-type"),
        (line("b", instruction=7), "entry-key-type"),
        (line("b", instruction=[]), "instruction-missing"),
        (line("b", instruction=[""]), "instruction-empty"),
        (line("b", instruction=["x", 3]), "instruction-not-text"),
        (line("b", image=3), "entry-key-type"),
        (line("b", image="/etc/passwd"), "image-outside"),
        (line("b", image="coco/../../../x.jpg"), "image-outside"),
        (line("b", image=""), "image-outside"),
        (line("b", image="coco/none.jpg"), "image-missing"),
        (line("a1"), "duplicate-id"),
    ],
)
def test_a_bad_line_is_one_reject_and_never_the_next_line_instead(
    tmp_path: Path, bad: dict[str, Any] | bytes, reason: str
):
    good = archive(tmp_path, line("a1"), line("a2"))
    texts = [bad if isinstance(bad, bytes) else json.dumps(bad).encode()]
    first, last = (json.dumps(line(uuid)).encode() for uuid in ("a1", "a2"))
    (good / "data.jsonl").write_bytes(b"\n".join([first, *texts, b"", last]))
    save_mask(good / "mask_b.jpg", BLOCKS)
    save_image(good / "img_b.jpg")
    assert reasons(source(good)) == ["", reason, ""]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda p: p.unlink(), "mask-missing"),
        (lambda p: p.write_bytes(p.read_bytes()[:-60]), "mask-truncated"),
        (lambda p: p.write_bytes(b"no picture"), "mask-format"),
        (lambda p: p.write_bytes(b""), "mask-empty"),
        (lambda p: save_image(p, format="jpeg"), "mask-format"),
        (lambda p: save_mask(p, BLOCKS[:50]), "mask-size"),
    ],
)
def test_a_bad_mask_is_a_reject(tmp_path: Path, spoil: Any, reason: str):
    home = archive(tmp_path, line())
    spoil(home / "mask_a1.jpg")
    assert reasons(source(home)) == reasons(source(home, "human")) == [reason]


def test_a_mask_of_another_size_is_resized_only_on_request_and_only_in_shape(tmp_path: Path):
    home = archive(tmp_path, line())
    save_mask(home / "mask_a1.jpg", np.kron(BLOCKS, np.ones((2, 2), np.uint8)))
    assert reasons(source(home)) == ["mask-size"]
    sample = the_sample(source(home, fit="resize"))
    assert sample.label is not None
    assert dict(sample.extra)["mask_size"] == [128, 192]
    assert abs(int(sample.label.mask[32, 60]) - 170) <= 3
    gold = the_sample(source(home, "human", fit="resize")).gold
    assert gold is not None
    assert np.abs(gold.array().astype(int) - (BLOCKS >= 128)).mean() < 0.02
    save_mask(home / "mask_a1.jpg", np.ascontiguousarray(BLOCKS.T))
    assert reasons(source(home, fit="resize")) == ["mask-size"]


def test_images_and_masks_may_lie_in_folders_of_their_own(tmp_path: Path):
    home = archive(tmp_path / "data", line(1, image="coco/train2017/1.jpg"))
    (home / "masks").mkdir()
    (home / "mask_1.jpg").rename(home / "masks" / "mask_1.jpg")
    (tmp_path / "all" / "coco" / "train2017").mkdir(parents=True)
    (home / "img_1.jpg").rename(tmp_path / "all" / "coco" / "train2017" / "1.jpg")
    got = source(home, images=tmp_path / "all")
    assert the_sample(got).source.key == "coco/train2017/1.jpg"
    for name in ("images", "masks"):
        with pytest.raises(ValueError, match=rf"set source\.{name}"):
            source(home, **{name: tmp_path / "none"})


def test_an_archive_still_zipped_is_an_error_that_says_so(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "HumanLabelData.zip", "w") as packed:
        packed.writestr("data.jsonl", "{}")
    with pytest.raises(ValueError, match="unzip it first"):
        source(tmp_path / "HumanLabelData.zip")
    with pytest.raises(ValueError, match=r"found none; unzip the \.zip files first"):
        source(tmp_path)
    with pytest.raises(ValueError, match="does not exist"):
        source(tmp_path / "none")
    (tmp_path / "empty.jsonl").write_text("\n \n")
    with pytest.raises(ValueError, match="holds no line"):
        source(tmp_path / "empty.jsonl")
