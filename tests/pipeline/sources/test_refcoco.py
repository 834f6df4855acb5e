"""The refcoco source: little refs files as each of the four datasets publishes them, and real annotations."""

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.records import Reject
from pipeline.sources import coco, refcoco
from tests.pipeline.sources.files_for_tests import SIZE, load_all, reasons, save_image, the_sample

SQUARE = [[5, 2, 15, 2, 15, 12, 5, 12]]


def ref(ref_id: int = 0, ann_id: Any = 10, *texts: str, **more: Any) -> dict[str, Any]:
    said = texts or ("the dog",)
    return {
        "ref_id": ref_id,
        "ann_id": ann_id,
        "image_id": 1,
        "category_id": 3,
        "split": "train",
        "file_name": "COCO_train2014_000000000001_0.jpg",
        "sent_ids": list(range(len(said))),
        "sentences": [
            {"tokens": t.split(), "raw": t.upper(), "sent_id": n, "sent": t}
            for n, t in enumerate(said)
        ],
        **more,
    }


def layout(folder: Path, refs: Any, name: str = "refs(unc).p", protocol: int = 2) -> Path:
    home = folder / "refcoco"
    home.mkdir(parents=True, exist_ok=True)
    save_image(folder / "images" / "train2014" / "COCO_train2014_000000000001.jpg")
    height, width = SIZE
    image = {"id": 1, "file_name": "COCO_train2014_000000000001.jpg", "license": 4, "coco_url": "u"}
    drawn = {"image_id": 1, "category_id": 3, "iscrowd": 0}
    far = [[20, 2, 25, 2, 25, 8, 20, 8]]
    said = {
        "licenses": [{"id": 4, "name": "Attribution License"}],
        "images": [{**image, "height": height, "width": width}],
        "annotations": [
            {"id": 10, **drawn, "segmentation": SQUARE, "bbox": [5, 2, 10, 10]},
            {"id": 11, **drawn, "segmentation": far, "bbox": [20, 2, 90, 6]},
            {"id": 12, **drawn, "segmentation": SQUARE, "bbox": [5, 2, 0, 10]},
            {"id": 13, **drawn, "segmentation": [], "bbox": None},
        ],
        "categories": [{"id": 3, "name": "dog"}],
    }
    (home / "instances.json").write_text(json.dumps(said))
    data = pickle.dumps(refs, protocol) if name.endswith(".p") else json.dumps(refs).encode()
    (home / name).write_bytes(data)
    return home


def source(folder: Path, *refs: Any, **options: Any) -> refcoco.RefCoco:
    return refcoco.make(refcoco.Config(path=layout(folder, list(refs)), **options))


def test_a_ref_becomes_a_sample_with_its_sentences_and_its_mask(tmp_path: Path):
    got = source(tmp_path, ref(7, 10, "the dog", "left dog", "the dog"))
    sample = the_sample(got)
    assert (sample.id, sample.instructions) == ("refcoco-7", ("the dog", "left dog"))
    extra = {"ann_ids": [10], "no_target": False, "sentence_times": [2, 1]}
    assert (sample.style, dict(sample.extra)) == ("refcoco", extra)
    assert sample.source.split == "train"
    assert (sample.source.licence, sample.source.url) == ("Attribution License", "u")
    assert sample.source.key == "COCO_train2014_000000000001.jpg"
    mask = np.zeros(SIZE, bool)
    mask[2:12, 5:15] = True
    assert sample.gold is not None
    assert (sample.gold.array() == mask).all()


@pytest.mark.parametrize(
    ("name", "protocol"),
    [
        ("refs(unc).p", 0),
        ("refs(google).p", 2),
        ("refs(umd).p", 4),
        ("refs(unc).json", 0),
        ("grefs(unc).json", 0),
        ("grefs(unc).p", 2),
    ],
)
def test_every_published_name_and_protocol_reads_the_same(tmp_path: Path, name: str, protocol: int):
    home = layout(tmp_path, [ref(), ref(1, 11)], name, protocol)
    got = refcoco.make(refcoco.Config(path=home))
    assert reasons(got) == ["", ""]


def test_refs_of_several_or_no_targets_are_multi_and_no_target(tmp_path: Path):
    got = source(
        tmp_path,
        ref(0, [10, 11], "both dogs"),
        ref(1, [-1], "the cat", no_target=True),
        ref(2, [10], no_target=False),
    )
    both, none, one = (the_sample(got, n) for n in range(3))
    assert (both.style, none.style, one.style) == ("multi", "no-target", "refcoco")
    assert both.gold is not None
    assert both.gold.area() == 100 + 30
    assert none.gold is not None
    assert (none.gold.area(), none.gold_role, dict(none.extra)["no_target"]) == (0, "train", True)


def test_boxes_instead_of_gold_are_xyxy_and_cut_at_the_border(tmp_path: Path):
    got = source(
        tmp_path, ref(0, [10, 11]), ref(1, [-1], no_target=True), ref(2, 12), ref(3, 13), gold="box"
    )
    assert reasons(got) == ["", "", "box-empty", "box-damaged"]
    both = the_sample(got)
    assert both.gold is None
    assert dict(both.extra)["boxes"] == [[5.0, 2.0, 15.0, 12.0], [20.0, 2.0, 30.0, 8.0]]
    assert both.boxes == ((5.0, 2.0, 15.0, 12.0), (20.0, 2.0, 30.0, 8.0))
    assert dict(the_sample(got, 1).extra)["boxes"] == []


def test_a_split_is_chosen_or_all_and_each_sample_says_its_own(tmp_path: Path):
    refs = [ref(n, 10, split=split) for n, split in enumerate(("train", "val", "testA", "testB"))]
    for split in ("train", "val", "testA", "testB"):
        assert the_sample(source(tmp_path, *refs, split=split)).source.split == split
    got = source(tmp_path, *refs, split="all")
    assert [the_sample(got, n).source.split for n in range(4)] == [
        "train",
        "val",
        "testA",
        "testB",
    ]
    with pytest.raises(ValueError, match=r"no ref of split 'test'; its splits are .*'testA': 1"):
        source(tmp_path, *refs, split="test")


def test_of_several_refs_files_one_is_chosen_by_its_brackets(tmp_path: Path):
    layout(tmp_path, [ref(0), ref(1)], "refs(google).p")
    home = layout(tmp_path, [ref(5)], "refs(umd).p")
    with pytest.raises(ValueError, match=r"found refs\(google\)\.p, refs\(umd\)\.p; set source"):
        refcoco.make(refcoco.Config(path=home))
    assert len(refcoco.make(refcoco.Config(path=home, split_by="google"))) == 2
    assert the_sample(refcoco.make(refcoco.Config(path=home, split_by="umd"))).id == "refcoco-5"
    with pytest.raises(ValueError, match=r"refs\(unc\)\.p, .* found none"):
        refcoco.make(refcoco.Config(path=home, split_by="unc"))


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (ref(1, 99), "annotation-unknown"),
        (ref(1, 10, image_id=5), "image-missing"),
        (ref(1, [10, 99]), "annotation-unknown"),
        (ref(1, 13), "mask-damaged"),
        (ref(1, None), "ref-malformed"),
        (ref(1, []), "ref-malformed"),
        (ref(1, [10], no_target=True), "ref-malformed"),
        (ref(1, [-1], no_target=False), "ref-malformed"),
        (ref(1, [{"a": 1}]), "ref-malformed"),
        (ref(1, 10, sentences="the dog"), "ref-malformed"),
        (ref(1, 10, sentences=[]), "instruction-missing"),
        (ref(1, 10, " "), "instruction-empty"),
        (ref(1, 10, sentences=[{"sent": 3}]), "instruction-not-text"),
        (ref(0, 10), "duplicate-id"),
        ({}, "ref-malformed"),
        ("refs", "ref-malformed"),
    ],
)
def test_a_bad_ref_is_a_reject_and_its_neighbours_are_not(tmp_path: Path, bad: Any, reason: str):
    assert reasons(source(tmp_path, ref(0), bad, ref(2))) == ["", reason, ""]


def test_a_missing_photograph_is_a_reject(tmp_path: Path):
    got = source(tmp_path, ref())
    (tmp_path / "images" / "train2014" / "COCO_train2014_000000000001.jpg").unlink()
    assert reasons(got) == ["image-missing"]


class Runs:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.canary}",)


def test_a_refs_file_that_would_run_something_is_an_error_and_runs_nothing(tmp_path: Path):
    home = layout(tmp_path, [ref(), Runs(tmp_path / "canary")])
    with pytest.raises(ValueError, match=r"refs\(unc\)\.p: .* is not plain data"):
        refcoco.make(refcoco.Config(path=home))
    assert not (tmp_path / "canary").exists()


def test_what_is_missing_is_an_error_that_says_what_to_point_at(tmp_path: Path):
    with pytest.raises(ValueError, match=r"expected a folder with instances\.json"):
        refcoco.make(refcoco.Config(path=tmp_path))
    home = layout(tmp_path, {"refs": []})
    with pytest.raises(ValueError, match="holds a dict; expected a list of refs"):
        refcoco.make(refcoco.Config(path=home))
    with pytest.raises(ValueError, match=r"set source\.images"):
        refcoco.make(refcoco.Config(path=home, images=tmp_path / "none"))
    layout(tmp_path, [ref()], "refs(unc).json")
    (home / "refs(unc).p").unlink()
    (home / "refs(unc).json").write_text("{")
    with pytest.raises(ValueError, match="no readable JSON"):
        refcoco.make(refcoco.Config(path=home))


@pytest.mark.shared
@pytest.mark.slow
def test_gold_of_real_annotations_is_what_the_coco_source_gives(tmp_path: Path, shared_data: Path):
    home = shared_data / "coco-instruct"
    (tmp_path / "instances.json").write_bytes((home / "instances.json").read_bytes())
    reference = coco.make(coco.Config(path=home))
    lines = [json.loads(line) for line in (home / "instructions.jsonl").read_text().splitlines()]
    refs = [
        ref(n, row["ann_ids"], row["instruction"], image_id=row["image_id"])
        for n, row in enumerate(lines)
    ]
    (tmp_path / "refs(unc).p").write_bytes(pickle.dumps(refs, 2))
    config = {"path": tmp_path, "images": home / "images"}
    got = refcoco.make(refcoco.Config.model_validate(config))
    boxed = refcoco.make(refcoco.Config.model_validate({**config, "gold": "box"}))
    assert len(got) == len(reference) == len(boxed) == 423
    for index, item in enumerate(load_all(got)):
        other, drawn = reference.load(index), the_sample(boxed, index)
        assert not isinstance(item, Reject), item
        assert not isinstance(other, Reject), other
        assert (item.gold, item.image, item.instructions) == (
            other.gold,
            other.image,
            other.instructions,
        )
        assert item.gold is not None
        rows, columns = np.nonzero(item.gold.array())
        x, y, boxes = columns + 0.5, rows + 0.5, np.array(drawn.boxes)[:, :, None]
        inside = (x >= boxes[:, 0]) & (x < boxes[:, 2]) & (y >= boxes[:, 1]) & (y < boxes[:, 3])
        assert inside.any(axis=0).mean() > 0.99, item.id
