"""Whole builds from sources of labelled data: nothing is lost, verify finds nothing, and what people drew is kept."""

import json
import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from annotators.masks import encode_mask
from pipeline.build import build
from pipeline.executors.local import run_local
from pipeline.reader import iterate_samples
from pipeline.records import Sample
from pipeline.sources import coco
from pipeline.validate import verify
from tests.e2e.lines import job, tree

SIZE = (48, 64)
BALL = np.zeros(SIZE, np.uint8)
cv2.circle(BALL, (30, 24), 10, 255, -1)
BOX = [20.0, 14.0, 41.0, 35.0]
ADOPT: dict[str, Any] = {"adopt": {}, "fuse": {"rule": "best"}, "keep": {"empty": "keep"}}
"""Gold is the label."""
FILL: dict[str, Any] = {
    "boxes": {},
    "segment": {"experts": [{"use": "fake_segmenter"}]},
    "fuse": {"rule": "best"},
    "keep": {"empty": "keep"},
}
"""People's boxes are filled by a segmenter."""
PANEL: dict[str, Any] = {
    "rewrite": {"experts": [{"use": "fake_rewriter"}]},
    "ground": {"experts": [{"use": "fake_grounder"}]},
    "segment": {"experts": [{"use": "fake_segmenter"}, {"use": "fake_text_segmenter"}]},
    "fuse": {"rule": "vote"},
    "score": {},
    "keep": {"empty": "reject"},
}
"""Nobody drew anything: the panel alone."""


def photo(path: Path, seed: int = 0) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 255, (*SIZE, 3), np.uint8)
    picture = np.ascontiguousarray(cv2.GaussianBlur(noise, (9, 9), 0))
    picture[BALL > 0] = (0, 0, 255)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture)
    return path.read_bytes()


def refcoco(folder: Path, **options: Any) -> dict[str, Any]:
    rle = encode_mask(BALL)
    row = {"category_id": 1, "iscrowd": 0, "bbox": [20, 14, 21, 21]}
    images, drawn, refs = [], [], []
    for n in range(6):
        photo(folder / "train2014" / f"{n}.jpg", n)
        images.append({"id": n, "file_name": f"{n}.jpg", "height": SIZE[0], "width": SIZE[1]})
        shape = {"size": list(SIZE), "counts": rle.counts}
        drawn.append({"id": 100 + n, "image_id": n, "segmentation": shape, **row})
        refs.append(
            {
                "ref_id": n,
                "image_id": n,
                "ann_id": [-1] if n == 4 else [999] if n == 5 else 100 + n,
                "no_target": n == 4,
                "split": "train",
                "sentences": [{"sent": "the red ball", "raw": "The red ball"}],
            }
        )
    said = {"images": images, "annotations": drawn, "categories": [{"id": 1, "name": "ball"}]}
    (folder / "instances.json").write_text(json.dumps(said))
    (folder / "refs(unc).p").write_bytes(pickle.dumps(refs, 2))
    return {"kind": "refcoco", "path": str(folder), **options}


def ivm_mix(folder: Path, **options: Any) -> dict[str, Any]:
    lines = []
    for n in range(6):
        photo(folder / f"img_{n}.jpg", n)
        levels = BALL if n < 4 else np.zeros_like(BALL)
        cv2.imwrite(str(folder / f"mask_{n}.jpg"), np.repeat(levels[..., None], 3, axis=2))
        lines.append(json.dumps({"uuid": str(n), "instruction": ["pick up the red ball"]}))
    (folder / "mask_5.jpg").unlink()
    (folder / "data.jsonl").write_text("\n".join(lines))
    return {"kind": "ivm_mix", "path": str(folder), **options}


def table(folder: Path, **options: Any) -> dict[str, Any]:
    png = cv2.imencode(".png", BALL)[1].tobytes()
    rows = [
        {
            "image": {"bytes": photo(folder / f"{n}.jpg", n) if n < 5 else b"", "path": None},
            "instruction": "the red ball",
            "mask": png if n < 4 else cv2.imencode(".png", 0 * BALL)[1].tobytes(),
            "boxes": [BOX] if n < 4 else [],
        }
        for n in range(6)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "t.parquet", row_group_size=4)
    return {"kind": "table", "path": str(folder / "t.parquet"), **options}


def llava(folder: Path) -> dict[str, Any]:
    talks = []
    for n in range(5):
        photo(folder / "images" / f"{n}.jpg", n)
        said = [
            {"from": "human", "value": "<image>\nWhere is the red ball?"},
            {"from": "gpt", "value": "In the middle."},
        ]
        talks.append({"id": "1", "image": f"{n}.jpg", "conversations": said})
    talks.append({"id": "2", "conversations": []})
    (folder / "talks.json").write_text(json.dumps(talks))
    return {"kind": "llava", "path": str(folder / "talks.json")}


def episodes(folder: Path) -> dict[str, Any]:
    for n in range(5):
        photo(folder / f"run_{n}" / "frame_9.jpg", n)
        (folder / f"run_{n}" / "instruction.txt").write_text("pick up the red ball")
    (folder / "run_10").mkdir()
    return {"kind": "episodes", "path": str(folder)}


def fresh(folder: Path) -> Path:
    """An empty folder for the data of a test."""
    (folder / "data").mkdir()
    return folder / "data"


def made(source: dict[str, Any], stages: dict[str, Any], root: Path) -> list[Sample]:
    """The samples of a build of six inputs of which the last cannot be taken."""
    raw = {"name": "tiny", "unit_size": 4, "source": source, "stages": stages}
    totals = build(job(raw, root), run_local).totals
    assert totals.inputs == totals.committed + sum(totals.rejected.values()) + totals.quarantined
    assert (totals.inputs, totals.committed, totals.quarantined) == (6, 5, 0)
    assert all(reason.startswith("source/") for reason in totals.rejected)
    report = verify(root)
    assert report.ok, report.problems
    return list(iterate_samples(root))


@pytest.mark.parametrize(
    "source",
    [
        lambda folder: refcoco(folder),
        lambda folder: ivm_mix(folder, part="human"),
        lambda folder: table(folder, columns={"mask": "mask"}),
    ],
    ids=["refcoco", "ivm_mix", "table"],
)
def test_what_people_drew_is_gold_and_may_be_adopted_as_label(tmp_path: Path, source: Any):
    samples = made(source(fresh(tmp_path)), ADOPT, tmp_path / "out")
    for sample in samples[:4]:
        assert sample.gold is not None
        assert sample.gold.iou(encode_mask(BALL)) > 0.97
        assert sample.label is not None
        assert ((sample.label.mask >= 128) == sample.gold.array()).all()
    none = samples[4]
    assert none.gold is not None
    assert (none.gold.area(), none.label.area if none.label else 1) == (0, 0)


@pytest.mark.parametrize(
    "source",
    [
        lambda folder: refcoco(folder, gold="box"),
        lambda folder: table(folder, columns={"boxes": "boxes"}),
    ],
    ids=["refcoco", "table"],
)
def test_boxes_that_people_drew_are_filled_by_a_segmenter(tmp_path: Path, source: Any):
    samples = made(source(fresh(tmp_path)), FILL, tmp_path / "out")
    for sample in samples[:4]:
        assert sample.gold is None
        (proposal,) = sample.proposals or ()
        assert (list(proposal.box), proposal.made_by.expert) == (BOX, "source")
        assert sample.label is not None
        assert sample.label.area > 0
    assert (samples[4].proposals, samples[4].candidates) == ((), ())


def test_machine_masks_come_with_their_label_and_can_be_judged(tmp_path: Path):
    source = ivm_mix(fresh(tmp_path), part="machine")
    stages: dict[str, Any] = {"score": {}, "keep": {"empty": "keep"}}
    samples = made(source, stages, tmp_path / "out")
    for sample in samples[:4]:
        assert sample.label is not None
        assert (sample.label.kind, sample.label.rule) == ("soft", "ivm_mix")
        assert sample.quality is not None
        assert sample.quality.score > 0
    assert (samples[4].candidates, samples[4].label.area if samples[4].label else 1) == ((), 0)


@pytest.mark.parametrize("source", [llava, episodes])
def test_what_nobody_drew_is_left_to_the_panel(tmp_path: Path, source: Any):
    samples = made(source(fresh(tmp_path)), PANEL, tmp_path / "out")
    assert all(s.gold is None and s.label is not None and s.label.area > 0 for s in samples)


def test_a_build_from_each_source_is_the_same_twice(tmp_path: Path):
    for n, kind in enumerate((refcoco, table, llava, episodes)):
        home = tmp_path / str(n)
        home.mkdir()
        source = kind(home)
        made(source, PANEL, tmp_path / f"a{n}")
        made(source, PANEL, tmp_path / f"b{n}")
        assert tree(tmp_path / f"a{n}") == tree(tmp_path / f"b{n}")


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize("name", ["refs(unc).p", "refs(unc).json"])
def test_real_gold_comes_out_of_the_shards_as_the_coco_source_reads_it(
    tmp_path: Path, shared_data: Path, name: str
):
    home = shared_data / "coco-instruct"
    rows = [json.loads(line) for line in (home / "instructions.jsonl").read_text().splitlines()]
    refs = [
        {
            "ref_id": n,
            "image_id": row["image_id"],
            "ann_id": row["ann_ids"] if len(row["ann_ids"]) > 1 else row["ann_ids"][0],
            "split": "train",
            "sentences": [{"sent": row["instruction"]}],
        }
        for n, row in enumerate(rows)
    ]
    data = pickle.dumps(refs, 2) if name.endswith(".p") else json.dumps(refs).encode()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / name).write_bytes(data)
    (tmp_path / "data" / "instances.json").write_bytes((home / "instances.json").read_bytes())
    source = {"kind": "refcoco", "path": str(tmp_path / "data"), "images": str(home / "images")}
    raw = {"name": "real", "unit_size": 100, "source": source, "stages": PANEL}
    totals = build(job(raw, tmp_path / "out"), run_local).totals
    assert (totals.inputs, totals.committed, totals.gold) == (423, 423, 423)
    assert verify(tmp_path / "out", decode=False).ok
    reference = coco.make(coco.Config(path=home))
    for index, sample in enumerate(iterate_samples(tmp_path / "out")):
        other = reference.load(index)
        assert isinstance(other, Sample)
        assert (sample.gold, sample.image, sample.instructions) == (
            other.gold,
            other.image,
            other.instructions,
        )
