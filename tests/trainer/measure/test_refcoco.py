"""RefCOCO's numbers: by hand, against pycocotools' own areas and unions, and over a whole little dataset."""

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from pycocotools import mask as pycoco
from typer.testing import CliRunner

from maskmix import app
from pipeline.build import build
from pipeline.executors.local import run_local
from pipeline.reader import iterate_samples
from tests.e2e.lines import job
from tests.trainer.conftest import make_samples, write_dataset
from trainer.config import TrainRecipe
from trainer.fit import fit
from trainer.measure.refcoco import Sentence, check_protocol, row, rows, score, table_text
from trainer.measure.refcoco_run import evaluate_refcoco

Masks = list[tuple[np.ndarray, np.ndarray, int]]
"""Prediction, target, times."""


def sentences(pairs: Masks, *, no_target: bool = False, split: str = "val") -> list[Sentence]:
    return [
        score(
            dataset="refcoco",
            split=split,
            ref=str(n),
            image=str(n),
            times=times,
            prediction=prediction,
            target=target,
            no_target=no_target,
        )
        for n, (prediction, target, times) in enumerate(pairs)
    ]


def with_iou(inner: int, union: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Two rows of pixels that share `inner` of `union`."""
    target = np.zeros((1, 40), bool)
    target[:, :union] = True
    prediction = target.copy()
    prediction[:, inner:] = False
    return prediction, target, 1


def by_pycocotools(pairs: Masks) -> dict[str, float]:
    """The same numbers from run-length codes alone: nothing of ours is called."""
    inner = union = total = 0.0
    ious = []
    for prediction, target, times in pairs:
        a, b = (pycoco.encode(np.asfortranarray(m.astype(np.uint8))) for m in (prediction, target))
        both = float(pycoco.area(pycoco.merge([a, b], intersect=True)))
        either = float(pycoco.area(pycoco.merge([a, b], intersect=False)))
        iou = float(pycoco.iou([a], [b], [0])[0][0]) if either else 0.0
        ious += [iou] * times
        inner, union, total = inner + times * both, union + times * either, total + times
    counted = np.array(ious)
    found = {"oiou": inner / union, "miou": float(counted.mean()), "sentences": total}
    return found | {f"p{t}": float((counted >= t / 100).mean()) for t in (50, 60, 70, 80, 90)}


def random_pairs(seed: int) -> Masks:
    """Blobs of many sizes on photographs of many sizes; some predictions and some targets are empty."""
    rng = np.random.default_rng(seed)
    pairs: Masks = []
    for n in range(60):
        height, width = (int(x) for x in rng.integers(1, 70, 2))
        target = np.asarray(cv2.blur(rng.random((height, width)), (5, 5)) > rng.random(), bool)
        prediction = np.roll(target, int(rng.integers(0, 3)), axis=1)
        if n % 9 == 0:
            prediction = np.zeros_like(prediction)
        if n % 15 == 0:
            target = np.zeros_like(target)
        pairs.append((prediction, target, 1 + n % 3))
    return pairs


def check_equal(pairs: Masks) -> None:
    numbers = row(sentences(pairs), "refcoco")
    for key, value in by_pycocotools(pairs).items():
        assert numbers[key] == pytest.approx(value, abs=1e-12), key


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_all_numbers_equal_those_of_pycocotools_on_random_masks(seed: int):
    check_equal(random_pairs(seed))


@pytest.mark.shared
@pytest.mark.slow
def test_all_numbers_equal_those_of_pycocotools_on_people_s_masks(shared_data: Path):
    said = json.loads((shared_data / "coco-instruct" / "instances.json").read_text())
    size = {image["id"]: (image["height"], image["width"]) for image in said["images"]}
    pairs: Masks = []
    for n, drawn in enumerate(a for a in said["annotations"] if not a.get("iscrowd")):
        height, width = size[drawn["image_id"]]
        parts = pycoco.frPyObjects(drawn["segmentation"], height, width)
        target = np.asarray(pycoco.decode(pycoco.merge(parts)), bool)
        k = 2 * (n % 12) + 1
        prediction = cv2.dilate(target.astype(np.uint8), np.ones((k, k), np.uint8)) > 0
        pairs.append((prediction, target, 1))
        if n == 300:
            break
    assert len({target.shape for _, target, _ in pairs}) > 20
    assert 0.2 < row(sentences(pairs), "refcoco")["p80"] < 0.9, "the test must be able to fail"
    check_equal(pairs)


def test_an_iou_at_the_threshold_counts_and_in_the_strict_form_does_not():
    half = sentences([with_iou(10, 20), with_iou(18, 20)])
    assert row(half, "refcoco")["p50"] == 1.0
    assert row(half, "refcoco-strict")["p50"] == 0.5
    assert row(half, "refcoco")["p90"] == 0.5
    assert row(half, "refcoco-strict")["p90"] == 0.0
    for key in ("oiou", "miou"):
        assert row(half, "refcoco")[key] == row(half, "refcoco-strict")[key]


def test_overall_iou_weighs_pixels_and_mean_iou_sentences():
    both = sentences([with_iou(40, 40), with_iou(0, 10)])
    assert row(both, "refcoco")["oiou"] == 40 / 50
    assert row(both, "refcoco")["miou"] == 0.5


def test_a_sentence_that_stands_twice_counts_twice():
    once, twice = with_iou(20, 20), (*with_iou(5, 20)[:2], 2)
    numbers = row(sentences([once, twice]), "refcoco")
    assert (numbers["sentences"], numbers["refs"]) == (3, 2)
    assert numbers == {**row(sentences([once, *[with_iou(5, 20)] * 2]), "refcoco"), "refs": 2, "images": 2}  # fmt: skip


def test_an_empty_mask_of_an_object_is_a_miss_and_never_nan():
    empty = np.zeros((1, 8), bool)
    numbers = row(sentences([(empty, empty, 1)]), "refcoco")
    assert (numbers["miou"], numbers["p50"], numbers["oiou"]) == (0.0, 0.0, None)


def test_refs_without_a_target_are_gres_s_and_no_other_protocol_s():
    empty = np.zeros((1, 40), bool)
    false_alarm = with_iou(4, 4)[1]
    absent = sentences([(empty, empty, 1), (false_alarm, empty, 1)], no_target=True)
    present = sentences([with_iou(8, 10), (empty, with_iou(6, 6)[1], 1)])
    numbers = row([*absent, *present], "grefcoco")
    assert numbers["miou"] == pytest.approx((1 + 0 + 0.8 + 0) / 4)
    assert numbers["oiou"] == pytest.approx(8 / (0 + 4 + 10 + 6))
    assert (numbers["n_acc"], numbers["t_acc"], numbers["no_target"]) == (0.5, 0.5, 2)
    assert (numbers["p70"], numbers["p90"]) == (0.5, 0.0), "of the sentences with a target"
    with pytest.raises(ValueError, match=r"2 sentences have no target.*--protocol grefcoco"):
        rows([*absent, *present], "refcoco")


def test_a_mask_of_a_few_pixels_may_count_as_empty():
    empty, speck = np.zeros((10, 10), bool), np.zeros((10, 10), bool)
    speck[:7, :7] = True
    options: Any = {"dataset": "g", "split": "val", "ref": "r", "image": "i", "times": 1}
    options |= {"prediction": speck, "target": empty, "no_target": True}
    assert score(**options).answered
    assert not score(**options, least_pixels=50).answered
    assert score(**options, least_pixels=50).union == 0
    assert speck.sum() == 49, "the prediction is left as it is"


def test_splits_stand_in_published_order_and_the_table_says_percent():
    pairs = [with_iou(10, 20), with_iou(20, 20)]
    said = [s for split in ("testB", "val", "testA") for s in sentences(pairs, split=split)]
    table = rows(said, "refcoco")
    assert [line["split"] for line in table] == ["val", "testA", "testB"]
    assert table_text(table, "refcoco").splitlines() == [
        "dataset split  sentences  P@0.5  P@0.6  P@0.7  P@0.8  P@0.9   oIoU   mIoU",
        "refcoco val            2 100.00  50.00  50.00  50.00  50.00  75.00  75.00",
        "refcoco testA          2 100.00  50.00  50.00  50.00  50.00  75.00  75.00",
        "refcoco testB          2 100.00  50.00  50.00  50.00  50.00  75.00  75.00",
    ]
    header = table_text(rows(said, "grefcoco"), "grefcoco").splitlines()[0].split()
    assert header[3:] == ["gIoU", "cIoU", "N-acc", "T-acc", "P@0.7", "P@0.8", "P@0.9"]


def test_a_protocol_has_a_name_that_is_known():
    assert check_protocol("grefcoco") == "grefcoco"
    with pytest.raises(ValueError, match="expected one of refcoco, refcoco-strict, grefcoco"):
        check_protocol("refcoco+")


def published(folder: Path) -> Path:
    """Three photographs with a square each, asked for in several sentences, in the published layout."""
    (folder / "train2014").mkdir(parents=True)
    images, drawn, refs = [], [], []
    for n, split in enumerate(("testA", "val", "val")):
        height, width = 40 + 8 * n, 56
        picture = np.full((height, width, 3), 90, np.uint8)
        picture[10:26, 8 : 24 + n] = (40, 40, 220)
        cv2.imwrite(str(folder / "train2014" / f"{n}.jpg"), picture)
        images.append({"id": n, "file_name": f"{n}.jpg", "height": height, "width": width})
        # two polygons that overlap: the target is their union
        left = [8, 10, 20, 10, 20, 26, 8, 26]
        right = [16, 10, 24 + n, 10, 24 + n, 26, 16, 26]
        drawn.append({"id": 10 + n, "image_id": n, "segmentation": [left, right], "iscrowd": 0,
                      "category_id": 1, "bbox": [8, 10, 16 + n, 16]})  # fmt: skip
        said = ["the red square", "red thing", "the red square"][: 1 + n]
        refs.append({"ref_id": n, "image_id": n, "ann_id": 10 + n, "split": split,
                     "sentences": [{"sent": text, "raw": text} for text in said]})  # fmt: skip
    said = {"images": images, "annotations": drawn, "categories": [{"id": 1, "name": "square"}]}
    (folder / "instances.json").write_text(json.dumps(said))
    (folder / "refs(unc).p").write_bytes(pickle.dumps(refs, 2))
    return folder


@pytest.fixture
def run(squares: Path, recipe: TrainRecipe, tmp_path: Path) -> Path:
    return fit(squares, recipe, out=tmp_path / "run")


@pytest.mark.slow
def test_a_model_is_asked_every_sentence_at_the_size_of_the_photograph(run: Path, tmp_path: Path):
    folder = published(tmp_path / "refcoco")
    options = {"kind": "refcoco", "path": str(folder), "split": "all"}
    line: Any = {"name": "ref", "source": options, "stages": {"adopt": {}, "fuse": {"rule": "best"}}}  # fmt: skip
    build(job(line, tmp_path / "d"), run_local)
    summary = evaluate_refcoco(run, tmp_path / "d")
    stored = run / "results" / f"{summary['dataset']}.json"
    assert json.loads(stored.read_text()) == summary
    assert [(r["split"], r["refs"], r["sentences"]) for r in summary["rows"]] == [
        ("val", 2, 5),
        ("testA", 1, 1),
    ]
    assert summary["left_out"] == {"rejected": 0, "without_gold": 0}
    kept = pq.read_table(stored.with_suffix(".parquet")).to_pylist()
    assert [(k["sentence"], k["times"]) for k in kept] == [
        ("the red square", 1),
        ("the red square", 1),
        ("red thing", 1),
        ("the red square", 2),
        ("red thing", 1),
    ]
    targets = {s.id: s.gold for s in iterate_samples(tmp_path / "d")}
    pairs: Masks = []
    for k in kept:
        rle: Any = {"size": [k["height"], k["width"]], "counts": k["counts"].encode()}
        target = targets[k["sample_id"]]
        assert target is not None
        assert int(target.array().sum()) == 16 * (16 + int(k["sample_id"][-1])), (
            "a union of polygons"
        )
        if k["split"] == "val":
            pairs.append((np.asarray(pycoco.decode(rle), bool), target.array(), k["times"]))
    for key, value in by_pycocotools(pairs).items():
        assert summary["rows"][0][key] == pytest.approx(value, abs=1e-12), key


def test_a_dataset_that_does_not_hold_the_sentences_of_its_refs_is_refused(
    run: Path, squares_test: Path, tmp_path: Path
):
    with pytest.raises(ValueError, match="expected a dataset of the refcoco source"):
        evaluate_refcoco(run, squares_test)
    extra = (("no_target", False), ("sentence_times", [1]))
    samples = [replace(s, extra=extra) for s in make_samples(2, gold_every=1, spoil=0.0, seed=9)]
    with pytest.raises(ValueError, match="2 instructions for 1 sentences"):
        evaluate_refcoco(run, write_dataset(tmp_path / "r", samples, name="r"))
    extra = (("no_target", False), ("sentence_times", [1, 1]))
    samples = [replace(s, extra=extra, gold=None) for s in samples]
    with pytest.raises(ValueError, match="no ref with gold"):
        evaluate_refcoco(run, write_dataset(tmp_path / "n", samples, name="n"))


@pytest.mark.slow
def test_the_command_prints_a_line_for_each_split(run: Path, tmp_path: Path):
    folder = published(tmp_path / "refcoco")
    options = {"kind": "refcoco", "path": str(folder), "split": "val"}
    line: Any = {"name": "r", "source": options, "stages": {"adopt": {}, "fuse": {"rule": "best"}}}
    build(job(line, tmp_path / "d"), run_local)
    words = ["evaluate", str(run), str(tmp_path / "d"), "--protocol"]
    told = CliRunner().invoke(app, [*words, "refcoco"])
    assert told.exit_code == 0, told.output
    assert [x.split()[:3] for x in told.output.splitlines()[1:]] == [["refcoco", "val", "5"]]
    told = CliRunner().invoke(app, [*words, "grefcoco", "--json"])
    assert json.loads(told.output.splitlines()[-1])["rows"][0]["sentences"] == 5
    told = CliRunner().invoke(app, [*words, "refcoc"])
    assert isinstance(told.exception, ValueError)
