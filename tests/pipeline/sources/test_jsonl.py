"""The jsonl source: what a line may say, and what becomes of lines that say it wrong."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from annotators.masks import encode_mask
from pipeline.records import ID, Reject
from pipeline.sources import jsonl
from tests.pipeline.sources.files_for_tests import SIZE, load_all, reasons, save_image, the_sample


def source(folder: Path, *lines: dict[str, Any] | bytes, **options: Any) -> jsonl.Jsonl:
    save_image(folder / "a.jpg")
    texts = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    (folder / "data.jsonl").write_bytes(b"\n".join(texts) + b"\n")
    return jsonl.make(jsonl.Config(path=folder / "data.jsonl", **options))


def line(**more: Any) -> dict[str, Any]:
    return {"image": "a.jpg", "instruction": "the mug", **more}


def test_a_line_becomes_a_sample_that_says_where_it_came_from(tmp_path: Path):
    said = {"style": "phrase", "licence": "CC0", "url": "u", "split": "val", "extra": {"n": 1}}
    got = the_sample(source(tmp_path, line(instructions=["a mug"], id="m1", **said)))
    assert (got.id, got.instructions, got.style) == ("m1", ("the mug", "a mug"), "phrase")
    assert (got.size_hw, got.extra, got.gold) == (SIZE, (("n", 1),), None)
    ref = got.source
    assert (ref.dataset, ref.split, ref.key, ref.licence, ref.url) == (
        "data",
        "val",
        "a.jpg",
        "CC0",
        "u",
    )
    assert ref.image_sha256 == hashlib.sha256((tmp_path / "a.jpg").read_bytes()).hexdigest()


def test_gold_may_be_a_mask_file_run_lengths_polygons_or_a_box(tmp_path: Path):
    mask = np.zeros(SIZE, np.uint8)
    mask[2:12, 5:15] = 255
    Image.fromarray(mask).save(tmp_path / "m.png")
    coded = encode_mask(mask)
    got = source(
        tmp_path,
        line(mask="m.png"),
        line(rle={"size": list(SIZE), "counts": coded.counts}),
        line(polygons=[[5, 2, 15, 2, 15, 12, 5, 12]]),
        line(box=[5, 2, 15, 12]),
    )
    assert reasons(got) == [""] * 4
    for index in range(4):
        sample = the_sample(got, index)
        assert sample.gold is not None
        assert sample.gold == coded
        assert sample.gold_role == "train"
    assert the_sample(got, 3).extra == (("gold_from", "box"),)


def test_gold_is_in_the_frame_of_the_upright_image(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    save_image(tmp_path / "turned.jpg", exif=exif)
    mask = np.zeros(SIZE[::-1], np.uint8)
    mask[:5] = 1
    Image.fromarray(mask).save(tmp_path / "m.png")
    Image.fromarray(mask.T.copy()).save(tmp_path / "raw.png")
    got = source(
        tmp_path,
        line(image="turned.jpg", mask="m.png"),
        line(image="turned.jpg", mask="raw.png"),
    )
    assert reasons(got) == ["", "mask-size"]
    assert the_sample(got).size_hw == SIZE[::-1]
    assert the_sample(got).source.transcoded == "exif-6,jpeg95"


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"{not json", "entry-not-json"),
        (b"[1]", "entry-not-json"),
        (b'{"image": "a.jpg", "instruction": "x", "extra": {"v": NaN}}', "entry-not-json"),
        (b"\xff\xfe\x00", "entry-not-json"),
        (b'{"image": "a.jpg", "instruction": "x", "url": "\\ud800"}', "entry-not-json"),
        (b"[" * 20_000, "entry-not-json"),
        ({"instruction": "x"}, "image-missing"),
        (line(image="none.jpg"), "image-missing"),
        (line(image="."), "image-not-a-file"),
        (line(image="nul\x00.jpg"), "image-missing"),
        (line(image=7), "entry-key-type"),
        (line(image="https://example.org/a.jpg"), "image-url"),
        (line(image="data:image/png;base64,AAAA"), "image-url"),
        (line(mask="s3://bucket/m.png"), "image-url"),
        ({"image": "a.jpg"}, "instruction-missing"),
        (line(instruction=""), "instruction-empty"),
        (line(instruction="a" * 10_000), "instruction-too-long"),
        (line(instruction=None), "instruction-not-text"),
        (line(instructions="x"), "entry-key-type"),
        (line(polgons=[]), "entry-unknown-key"),
        (line(extra=[1]), "entry-key-type"),
        (line(mask="m.png", box=[0, 0, 1, 1]), "entry-key-type"),
        (line(mask="none.png"), "mask-missing"),
        (line(box=[0, 0, 999, 1]), "mask-damaged"),
        (line(rle={"size": [1, 1], "counts": [1]}), "mask-size"),
    ],
)
def test_a_bad_line_is_a_reject_that_names_the_line_and_spares_its_neighbours(
    tmp_path: Path, bad: dict[str, Any] | bytes, reason: str
):
    got = source(tmp_path, line(), bad, line())
    assert reasons(got) == ["", reason, ""]
    reject = got.load(1)
    assert isinstance(reject, Reject)
    assert "line 2" in reject.detail


def test_an_unknown_key_is_refused_with_the_nearest_known_one(tmp_path: Path):
    reject = source(tmp_path, line(polgons=[])).load(0)
    assert isinstance(reject, Reject)
    assert "did you mean 'polygons'?" in reject.detail


@pytest.mark.parametrize("text", ["红色的杯子", "الكوب الأحمر", "👩‍🚀"])
def test_other_scripts_pass_untouched(tmp_path: Path, text: str):
    assert the_sample(source(tmp_path, line(instruction=text))).instructions == (text,)


def test_ids_with_dots_slashes_and_capitals_become_safe_and_stay_distinct(tmp_path: Path):
    names = ["a.b/c", "a-b-c", "A-B-C", "../../etc/passwd", "红", "x" * 300]
    got = source(tmp_path, *(line(id=name) for name in names))
    assert reasons(got) == [""] * len(names)
    assert all(ID.fullmatch(the_sample(got, n).id) for n in range(len(names)))


def test_of_duplicate_ids_the_first_wins(tmp_path: Path):
    got = source(
        tmp_path, line(id="a", instruction="one"), line(id="b"), line(id="a"), line(id="a")
    )
    assert reasons(got) == ["", "", "duplicate-id", "duplicate-id"]
    assert the_sample(got).instructions == ("one",)


def test_absolute_paths_and_parents_are_taken_on_the_users_word(tmp_path: Path):
    outside = save_image(tmp_path / "else" / "b.jpg")
    (tmp_path / "in").mkdir()
    got = source(tmp_path / "in", line(image=str(outside)), line(image="../else/b.jpg"))
    assert reasons(got) == ["", ""]


def test_blank_lines_are_no_inputs_and_a_byte_order_mark_is_no_error(tmp_path: Path):
    assert reasons(
        source(tmp_path, b"\xef\xbb\xbf" + json.dumps(line()).encode(), b"", b"  \r", line())
    ) == ["", ""]


def test_a_missing_or_empty_file_is_an_error_that_names_it(tmp_path: Path):
    with pytest.raises(ValueError, match=r"none\.jsonl does not exist"):
        jsonl.make(jsonl.Config(path=tmp_path / "none.jsonl"))
    (tmp_path / "empty.jsonl").write_text("\n\n")
    with pytest.raises(ValueError, match="holds no line"):
        jsonl.make(jsonl.Config(path=tmp_path / "empty.jsonl"))


def test_the_role_of_gold_is_decided_by_image_and_seed(tmp_path: Path):
    lines = []
    for seed in range(60):
        save_image(tmp_path / f"{seed}.png", seed=seed)
        lines += [line(image=f"{seed}.png", box=[0, 0, 5, 5])] * 2
    lines.append(line())
    roles = [
        item.gold_role
        for item in load_all(source(tmp_path, *lines, gold_fraction=0.4))
        if not isinstance(item, Reject)
    ]
    other = [
        item.gold_role
        for item in load_all(source(tmp_path, *lines, gold_fraction=0.4, gold_seed=1))
        if not isinstance(item, Reject)
    ]
    assert roles[0:120:2] == roles[1:120:2], "samples of one image share a role"
    assert 12 <= roles[0:120:2].count("train") <= 36
    assert roles != other
    assert roles[-1] == "train", "without gold there is nothing to set aside"


def test_every_way_an_image_can_be_bad_reaches_the_reject(tmp_path: Path):
    good = save_image(tmp_path / "good.png").read_bytes()
    (tmp_path / "zero.jpg").write_bytes(b"")
    (tmp_path / "cut.png").write_bytes(good[: len(good) // 2])
    (tmp_path / "flip.png").write_bytes(good[:60] + bytes([good[60] ^ 1]) + good[61:])
    (tmp_path / "page.jpg").write_bytes(b"<html>")
    names = ("zero.jpg", "cut.png", "flip.png", "page.jpg")
    got = source(tmp_path, *(line(image=name) for name in names))
    assert reasons(got) == ["image-empty", "image-truncated", "image-corrupt", "image-format"]
