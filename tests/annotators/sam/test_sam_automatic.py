"""Masks without prompts against segment-anything's SamAutomaticMaskGenerator."""

import numpy as np
import pytest
import torch
from segment_anything import SamAutomaticMaskGenerator

from annotators.sam.automatic import automatic_masks, grid_of
from annotators.sam.prompted import PromptedSam
from tests.annotators.sam.tiny_sam import photograph, save, spread, tiny_sam


@pytest.fixture(scope="module")
def sam():
    return spread(tiny_sam(seed=3), times=6, shift=-10)  # a few spots each, not all of the image


@pytest.fixture(scope="module")
def ours(sam, tmp_path_factory):
    return PromptedSam(save(sam, tmp_path_factory.mktemp("sam") / "sam.pth"), device="cpu")


@pytest.mark.parametrize("size_hw", [(90, 120), (130, 60)])
@pytest.mark.parametrize(
    ("iou", "stability", "box_iou"), [(0.0, 0.0, 1.0), (0.6, 0.1, 0.7), (0.6, 0.1, 0.3)]
)
def test_the_same_masks_in_the_same_order_as_segment_anything(
    size_hw, iou, stability, box_iou, sam, ours
):
    image = photograph(*size_hw, seed=5)
    theirs = SamAutomaticMaskGenerator(
        sam,
        points_per_side=4,
        points_per_batch=7,
        pred_iou_thresh=iou,
        stability_score_thresh=stability,
        box_nms_thresh=box_iou,
    ).generate(image)
    mine = automatic_masks(
        ours,
        image,
        points_per_side=4,
        points_per_batch=5,
        least_predicted_iou=iou,
        least_stability=stability,
        most_box_iou=box_iou,
    )
    theirs = [record for record in theirs if record["area"]]
    assert len(mine) == len(theirs)
    assert len(mine) > 0
    for made, record in zip(mine, theirs, strict=True):
        other = record["segmentation"]
        assert (made.mask & other).sum() / (made.mask | other).sum() >= 0.999
        assert made.predicted_iou == pytest.approx(record["predicted_iou"], abs=1e-5)
        assert made.stability == pytest.approx(record["stability_score"], abs=1e-3)
        x, y, w, h = record["bbox"]  # ends on the last pixel
        assert made.box == (x, y, x + w + 1, y + h + 1)


def test_each_rule_removes_masks(ours):
    image = photograph(90, 120, seed=5)
    counts = [
        len(automatic_masks(ours, image, points_per_side=3, **rules))
        for rules in (
            {"least_predicted_iou": -9.0, "least_stability": 0.0, "most_box_iou": 1.0},
            {"least_predicted_iou": 0.8, "least_stability": 0.0, "most_box_iou": 1.0},
            {"least_predicted_iou": -9.0, "least_stability": 0.2, "most_box_iou": 1.0},
            {"least_predicted_iou": -9.0, "least_stability": 0.0, "most_box_iou": 0.5},
            {"least_predicted_iou": 9.0},
        )
    ]
    assert counts[0] > max(counts[1:4])
    assert min(counts[:4]) > 0
    assert counts[4] == 0


def test_masks_come_with_the_highest_predicted_iou_first(ours):
    found = automatic_masks(
        ours,
        photograph(90, 120, seed=5),
        points_per_side=4,
        least_predicted_iou=0.0,
        least_stability=0.0,
    )
    ious = [mask.predicted_iou for mask in found]
    assert ious == sorted(ious, reverse=True)


def test_the_grid_is_the_centres_of_equal_cells():
    assert grid_of(2).tolist() == [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]


def test_the_image_is_encoded_once(ours):
    calls = []

    class Counted:
        def encode(self, images):
            calls.append(len(images))
            return ours.encode(images)

        def decode(self, encoding, **prompt):
            assert np.all(prompt["labels"] == 1)
            return ours.decode(encoding, **prompt)

    automatic_masks(Counted(), photograph(40, 50), points_per_side=3, points_per_batch=2)
    assert calls == [1]
    assert torch.is_inference_mode_enabled() is False
