"""The folder source: images with their instructions beside them."""

import json
import os
from pathlib import Path

import pytest

from pipeline.codec import encode_sample
from pipeline.records import ID, Label, Reject
from pipeline.sources import folder
from tests.pipeline.sources.files_for_tests import SIZE, load_all, reasons, save_image, the_sample


def source(path: Path, **options: object) -> folder.Folder:
    return folder.make(folder.Config.model_validate({"path": path, **options}))


def test_a_text_file_holds_one_phrasing_a_line(tmp_path: Path):
    save_image(tmp_path / "a.jpg")
    (tmp_path / "a.txt").write_text("the mug\n\n  the red mug \n红色的杯子\n", encoding="utf-8")
    got = the_sample(source(tmp_path))
    assert (got.id, got.size_hw) == ("a", SIZE)
    assert got.instructions == ("the mug", "the red mug", "红色的杯子")
    assert (got.source.dataset, got.source.key) == (tmp_path.name, "a.jpg")


def test_a_json_file_says_what_a_line_of_jsonl_says(tmp_path: Path):
    save_image(tmp_path / "sub" / "a.png")
    said = {"instruction": "the mug", "style": "phrase", "mask": "a.mask.png", "licence": "CC0"}
    (tmp_path / "sub" / "a.json").write_text(json.dumps(said))
    save_image(tmp_path / "sub" / "a.mask.png")
    got = source(tmp_path)
    assert len(got) == 1, "NAME.mask.png is gold, not an image"
    sample = the_sample(got)
    assert (sample.style, sample.source.licence, sample.source.key) == (
        "phrase",
        "CC0",
        "sub/a.png",
    )
    assert sample.gold is not None
    assert sample.source.transcoded == "from-png,jpeg95"


def test_an_image_without_instructions_is_a_reject_unless_one_serves_all(tmp_path: Path):
    save_image(tmp_path / "a.jpg")
    assert reasons(source(tmp_path)) == ["no-instruction"]
    assert the_sample(source(tmp_path, instruction="the mug")).instructions == ("the mug",)


def test_sidecars_that_are_wrong_are_rejects(tmp_path: Path):
    texts = {
        "empty.txt": b"",
        "blank.txt": b" \n\n",
        "latin.txt": "caf\u00e9".encode("latin-1"),
        "long.txt": b"a" * 10_000,
        "notjson.json": b"{",
        "own.json": b'{"image": "x.jpg", "instruction": "x"}',
        "two.json": b'{"instruction": "x"}',
        "two.txt": b"x",
    }
    expected = {
        "blank": "instruction-empty",
        "empty": "instruction-empty",
        "latin": "instruction-not-text",
        "long": "instruction-too-long",
        "notjson": "entry-not-json",
        "own": "entry-unknown-key",
        "two": "sidecar-ambiguous",
    }
    for name, data in texts.items():
        (tmp_path / name).write_bytes(data)
    for stem in expected:
        save_image(tmp_path / f"{stem}.jpg")
    got = source(tmp_path)
    assert reasons(got) == list(expected.values())
    reject = got.load(0)
    assert isinstance(reject, Reject)
    assert reject.detail.startswith("blank.jpg: ")


def test_every_image_counts_and_nothing_else_does(tmp_path: Path):
    for name in ("b.JPG", "a.png", "c.webp", "d.gif"):
        save_image(tmp_path / name)
    (tmp_path / "e.heic").write_bytes(b"\x00\x00\x00\x18ftypheic")
    (tmp_path / "f.jpg").mkdir()
    for name in ("README.md", "notes.txt", "data.csv"):
        (tmp_path / name).write_text("x")
    got = source(tmp_path, instruction="the mug")
    assert reasons(got) == ["", "", "", "", "image-format"]


def test_images_of_one_stem_share_an_id_and_the_first_wins(tmp_path: Path):
    save_image(tmp_path / "a.jpg")
    save_image(tmp_path / "a.png")
    assert reasons(source(tmp_path, instruction="x")) == ["", "duplicate-id"]


def test_names_with_dots_spaces_and_scripts_give_safe_distinct_ids(tmp_path: Path):
    for name in ("a.b.jpg", "a-b.jpg", "A B.jpg", "x/a b.jpg", "杯子.jpg"):
        save_image(tmp_path / name)
    got = source(tmp_path, instruction="x")
    assert reasons(got) == [""] * 5
    assert all(ID.fullmatch(the_sample(got, n).id) for n in range(5))


def test_a_file_name_that_is_no_utf8_still_makes_a_sample_that_can_be_stored(tmp_path: Path):
    save_image(tmp_path / "a.jpg")
    try:
        os.rename(tmp_path / "a.jpg", os.fsencode(tmp_path) + b"/\xff.jpg")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    sample = the_sample(source(tmp_path, instruction="x"))
    import numpy as np

    label = Label(mask=np.zeros(SIZE, np.uint8), kind="binary", members=(), rule="best")
    assert encode_sample(sample.fill("label", label), "jpg")
    assert sample.source.key == "\\udcff.jpg"


def test_a_link_to_nothing_and_an_unreadable_image_are_rejects(tmp_path: Path):
    (tmp_path / "a.jpg").symlink_to(tmp_path / "gone.jpg")
    (tmp_path / "b.jpg").write_bytes(b"")
    assert reasons(source(tmp_path, instruction="x")) == ["image-missing", "image-empty"]


def test_a_pipe_is_refused_and_never_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "a.jpg")
    assert reasons(source(tmp_path, instruction="x")) == ["image-not-a-file"]


def test_a_missing_or_empty_folder_is_an_error_that_says_what_was_expected(tmp_path: Path):
    with pytest.raises(ValueError, match="none does not exist"):
        source(tmp_path / "none")
    with pytest.raises(ValueError, match=r"holds no image; expected files ending in .*\.jpg"):
        source(tmp_path)
    save_image(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match="is no folder"):
        source(tmp_path / "a.jpg")


def test_loading_again_gives_the_same(tmp_path: Path):
    for name in ("a.png", "b.gif", "c.jpg"):
        save_image(tmp_path / name)
    assert load_all(source(tmp_path, instruction="x")) == load_all(
        source(tmp_path, instruction="x")
    )
