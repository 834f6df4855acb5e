"""The coco source: little annotation files, and the real ones where they are."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO

from annotators.masks import encode_mask
from pipeline.records import Reject
from pipeline.sources import coco
from tests.pipeline.sources.files_for_tests import SIZE, load_all, reasons, save_image, the_sample

SQUARE = [[5, 2, 15, 2, 15, 12, 5, 12]]
AREA = 100


def annotation(id: int, image_id: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "id": id,
        "image_id": image_id,
        "category_id": 3,
        "iscrowd": 0,
        "segmentation": SQUARE,
        **more,
    }


def tables(*annotations: dict[str, Any]) -> dict[str, Any]:
    height, width = SIZE
    named = {"height": height, "width": width, "license": 4, "coco_url": "http://c/1"}
    return {
        "licenses": [{"id": 4, "name": "Attribution License", "url": "http://l"}],
        "categories": [{"id": 3, "name": "dog"}, {"id": 4, "name": "traffic light"}],
        "images": [
            {"id": 1, "file_name": "0001.jpg", **named},
            {"id": 2, "file_name": "0002.jpg", "height": height, "width": width, "flickr_url": "f"},
        ],
        "annotations": list(annotations),
    }


def source(
    folder: Path, said: dict[str, Any], *lines: dict[str, Any] | bytes, **options: Any
) -> coco.Coco:
    save_image(folder / "images" / "0001.jpg")
    save_image(folder / "images" / "0002.jpg", seed=2)
    (folder / "instances.json").write_text(json.dumps(said))
    if lines:
        texts = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
        (folder / "instructions.jsonl").write_bytes(b"\n".join(texts))
    return coco.make(coco.Config(path=folder, **options))


def line(*ann_ids: Any, image_id: int = 1, **more: Any) -> dict[str, Any]:
    return {"image_id": image_id, "instruction": "the dog", "ann_ids": list(ann_ids), **more}


def test_a_line_becomes_a_sample_with_the_union_of_its_annotations_as_gold(tmp_path: Path):
    crowd = {"size": list(SIZE), "counts": [0, 40, SIZE[0] * SIZE[1] - 40]}
    packed = encode_mask(np.eye(*SIZE, dtype=bool))
    said = tables(
        annotation(10),
        annotation(11, segmentation=crowd, iscrowd=1),
        annotation(12, segmentation={"size": list(SIZE), "counts": packed.counts}),
    )
    got = source(tmp_path, said, line(10, style="phrase"), line(11), line(10, 11, 12))
    assert reasons(got) == ["", "", ""]
    one, two, union = (the_sample(got, n) for n in range(3))
    assert (one.id, two.id, one.style) == ("coco-0001-0", "coco-0001-1", "phrase")
    assert one.source.licence == "Attribution License"
    assert (one.source.url, one.source.dataset, one.source.key) == (
        "http://c/1",
        "coco",
        "0001.jpg",
    )
    golds = [sample.gold for sample in (one, two, union)]
    assert golds[0] is not None and golds[1] is not None and golds[2] is not None  # noqa: PT018
    assert (golds[0].area(), golds[1].area()) == (AREA, 40)
    joined = golds[0].array() | golds[1].array() | np.eye(*SIZE, dtype=bool)
    assert (golds[2].array() == joined).all()


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (line(99), "annotation-unknown"),
        (line(20), "annotation-of-another-image"),
        (line(13), "mask-damaged"),
        (line(14), "mask-size"),
        (line(15), "mask-damaged"),
        (line(10, image_id=7), "image-missing"),
        (line(10, instruction=""), "instruction-empty"),
        (line(10, instruction="a" * 10_000), "instruction-too-long"),
        (line({"a": 1}), "entry-key-type"),
        ({"instruction": "x", "ann_ids": []}, "entry-key-type"),
        (b"{", "entry-not-json"),
        (b"[]", "entry-key-type"),
    ],
)
def test_a_bad_line_is_a_reject_and_its_neighbours_are_not(
    tmp_path: Path, bad: dict[str, Any] | bytes, reason: str
):
    said = tables(
        annotation(10),
        annotation(20, image_id=2),
        annotation(13, segmentation=[[1, 2, 3]]),
        annotation(14, segmentation={"size": [1, 1], "counts": [1]}),
        annotation(15, segmentation=[]),
    )
    assert reasons(source(tmp_path, said, line(10), bad, line(10))) == ["", reason, ""]


def test_an_image_of_another_size_than_declared_is_refused(tmp_path: Path):
    said = tables(annotation(10))
    said["images"][0]["width"] += 1
    assert reasons(source(tmp_path, said, line(10))) == ["mask-size"]


def test_an_image_that_is_listed_but_missing_is_a_reject(tmp_path: Path):
    got = source(tmp_path, tables(annotation(10)), line(10))
    (tmp_path / "images" / "0001.jpg").unlink()
    assert reasons(got) == ["image-missing"]


def test_without_instructions_every_category_of_every_image_is_asked_for(tmp_path: Path):
    said = tables(
        annotation(10),
        annotation(11, segmentation=[[20, 2, 25, 2, 25, 8, 20, 8]]),
        annotation(12, category_id=4),
        annotation(13, category_id=77),
        annotation(14, image_id=9),
    )
    got = source(tmp_path, said)
    loaded = {item.id: item for item in load_all(got) if not isinstance(item, Reject)}
    assert loaded["coco-0001-dog"].instructions == ("every dog", "each dog in the picture")
    assert loaded["coco-0001-dog"].style == "all"
    assert loaded["coco-0001-traffic_light"].instructions == ("the traffic light",)
    assert sorted(reasons(got)) == ["", "", "category-unknown", "image-missing", "no-annotation"]


def test_the_file_of_instructions_can_be_left_aside(tmp_path: Path):
    got = source(tmp_path, tables(annotation(10)), line(10), ask="categories")
    assert the_sample(got).id == "coco-0001-dog"


def test_files_may_be_given_one_by_one_and_the_official_layout_is_found(tmp_path: Path):
    source(tmp_path, tables(annotation(10)), line(10))
    config = coco.Config(
        path=tmp_path / "instances.json",
        images=tmp_path / "images",
        instructions=tmp_path / "instructions.jsonl",
    )
    assert reasons(coco.make(config)) == [""]
    (tmp_path / "annotations").mkdir()
    (tmp_path / "instances.json").rename(tmp_path / "annotations" / "instances_val2017.json")
    assert reasons(coco.make(coco.Config(path=tmp_path))) == [""]


def test_what_is_missing_is_an_error_that_says_what_to_point_at(tmp_path: Path):
    with pytest.raises(ValueError, match=r"expected an instances \.json"):
        coco.make(coco.Config(path=tmp_path))
    source(tmp_path, tables(annotation(10)))
    for option in ("images", "instructions"):
        with pytest.raises(ValueError, match="none"):
            coco.make(coco.Config.model_validate({"path": tmp_path, option: tmp_path / "none"}))


@pytest.mark.parametrize(
    "said",
    [[], {}, {"images": [{"id": 1}], "annotations": []}, tables(annotation(10), annotation(10))],
)
def test_a_json_that_is_no_coco_file_is_an_error(tmp_path: Path, said: Any):
    with pytest.raises(ValueError, match="is no COCO instances file"):
        source(tmp_path, said)


def test_a_coco_file_that_lists_nothing_is_an_error(tmp_path: Path):
    with pytest.raises(ValueError, match="lists nothing"):
        source(tmp_path, {"images": [], "annotations": []})


@pytest.mark.shared
@pytest.mark.slow
def test_all_real_items_load_and_their_gold_is_what_pycocotools_draws(
    shared_data: Path, capsys: pytest.CaptureFixture[str]
):
    got = coco.make(coco.Config(path=shared_data / "coco-instruct"))
    reference = COCO(str(shared_data / "coco-instruct" / "instances.json"))
    capsys.readouterr()
    assert len(got) == 423
    for item in load_all(got):
        assert not isinstance(item, Reject), item
        assert item.gold is not None
        names = dict(item.extra)["ann_ids"]
        drawn = np.zeros(item.size_hw, bool)
        for annotation in reference.loadAnns(names):
            drawn |= reference.annToMask(annotation).astype(bool)
        assert item.gold.iou(encode_mask(drawn)) == 1.0, item.id
        assert item.source.licence
        assert item.source.transcoded == ""


@pytest.mark.shared
@pytest.mark.slow
def test_real_annotations_load_by_category(shared_data: Path):
    got = coco.make(coco.Config(path=shared_data / "coco-instruct", ask="categories"))
    assert len(got) > 300
    assert set(reasons(got)) <= {"", "no-annotation"}


def test_boxes_instead_of_gold_are_xyxy_and_cut_at_the_border(tmp_path: Path):
    said = tables(annotation(10, bbox=[5, 2, 10, 10]), annotation(11, bbox=[20, 15, 99, 99]))
    got = source(tmp_path, said, line(10, 11), line(), gold="box")
    both = the_sample(got)
    assert both.gold is None
    assert both.boxes == ((5.0, 2.0, 15.0, 12.0), (20.0, 15.0, 30.0, 20.0))
    assert the_sample(got, 1).boxes == ()
    said = tables(annotation(10), annotation(11, bbox=[40, 2, 3, 3]))
    assert reasons(source(tmp_path, said, line(10), line(11), gold="box")) == [
        "box-damaged",
        "box-empty",
    ]
