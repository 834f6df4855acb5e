"""The metrics against masks drawn by hand and against pycocotools."""

import json

import numpy as np
import pytest

from annotators.masks import encode_mask
from trainer.measure.metrics import Record, iou, measure, summarise, summary


def drawn(*rows: str) -> np.ndarray:
    return np.array([[cell == "#" for cell in row] for row in rows])


EMPTY = drawn("....", "....", "....", "....")
LEFT = drawn("##..", "##..", "##..", "##..")
TOP = drawn("####", "####", "....", "....")
DOT = drawn("#...", "....", "....", "....")


@pytest.mark.parametrize(
    ("prediction", "target", "expected"),
    [
        (LEFT, LEFT, 1.0),
        (LEFT, TOP, 4 / 12),
        (LEFT, ~LEFT, 0.0),
        (DOT, LEFT, 1 / 8),
        (EMPTY, LEFT, 0.0),
        (LEFT, EMPTY, 0.0),
        (EMPTY, EMPTY, 1.0),
    ],
)
def test_iou_of_hand_drawn_masks(prediction, target, expected):
    assert iou(prediction, target) == expected


def test_iou_equals_pycocotools_on_random_masks():
    rng = np.random.default_rng(0)
    for share in (0.02, 0.3, 0.9):
        a, b = rng.random((37, 53)) < share, rng.random((37, 53)) < share
        assert iou(a, b) == pytest.approx(encode_mask(a).iou(encode_mask(b)), abs=1e-12)


def test_iou_refuses_grey_levels_and_other_sizes():
    with pytest.raises(ValueError, match="threshold it first"):
        iou(LEFT.astype(np.float32), LEFT)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one frame"):
        iou(LEFT, LEFT[:2])
    with pytest.raises(ValueError, match=r"expected bool \(h, w\)"):
        iou(LEFT[None], LEFT[None])


def four_records() -> list[Record]:
    """IoU 1, 1/3, and two without a target: one left alone, one false alarm of a single pixel."""
    return [
        measure("a", prediction=LEFT, target=LEFT, style="phrase", source="tabletop"),
        measure("b", prediction=LEFT, target=TOP, style="all", source="tabletop"),
        measure("c", prediction=EMPTY, target=EMPTY, style="all", source="coco"),
        measure("d", prediction=DOT, target=EMPTY, style="", source="coco"),
    ]


def test_summary_follows_the_written_definitions():
    row = summary(four_records())
    assert row["samples"] == 4
    assert row["no_target"] == 2
    assert row["giou"] == pytest.approx((1 + 1 / 3 + 1 + 0) / 4)
    assert row["ciou"] == pytest.approx((8 + 4) / (8 + 12 + 0 + 1))
    assert row["p50"] == 0.5  # of the two samples with a target
    assert row["n_acc"] == 0.5
    assert row["t_acc"] == 1.0


def test_precision_counts_an_iou_that_just_reaches_the_threshold():
    half = measure("h", prediction=drawn("##.."), target=drawn("####"))
    assert half.iou == 0.5
    assert summary([half])["p50"] == 1.0
    assert summary([half])["p60"] == 0.0


def test_an_empty_prediction_on_a_target_lowers_t_acc_and_nothing_else_hides_it():
    row = summary([measure("a", prediction=EMPTY, target=LEFT)])
    assert (row["t_acc"], row["giou"], row["ciou"], row["n_acc"]) == (0.0, 0.0, 0.0, None)


def test_undefined_numbers_are_none_and_survive_json():
    row = summary([measure("c", prediction=EMPTY, target=EMPTY)])
    assert row["ciou"] is None
    assert row["p50"] is None
    assert row["t_acc"] is None
    assert row["n_acc"] == 1.0
    assert json.loads(json.dumps(row, allow_nan=False)) == row


def test_summaries_are_split_by_style_and_source():
    table = summarise(four_records())
    assert list(table["by_style"]) == ["all", "phrase"]
    assert list(table["by_source"]) == ["coco", "tabletop"]
    assert table["by_source"]["coco"]["samples"] == 2
    assert table["by_style"]["phrase"]["giou"] == 1.0
    counts = [part["samples"] for part in table["by_source"].values()]
    assert sum(counts) == table["overall"]["samples"]


def test_summarise_refuses_nothing_and_doubles():
    with pytest.raises(ValueError, match="no records"):
        summarise([])
    record = measure("a", prediction=LEFT, target=LEFT)
    with pytest.raises(ValueError, match="come twice"):
        summarise([record, record])
