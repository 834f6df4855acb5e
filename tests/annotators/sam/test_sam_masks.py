"""From logits to candidates, and encodings that are made once."""

import numpy as np
import pytest
import torch

from annotators.candidate import Proposal, Provenance
from annotators.sam.encodings import Encoding, Encodings
from annotators.sam.masks_from_logits import (
    Frame,
    candidates_from_logits,
    choose_best,
    enlarge,
    masks_from_logits,
    stability_of,
    without_padding,
)

FRAME = Frame(size_hw=(30, 60), input_hw=(32, 64), padded=64)
MADE_BY = Provenance(expert="test", model="m", revision="r", config_hash="c" * 12)


def blob(top, left, bottom, right, *, high=3.0, low=-3.0):
    logits = torch.full((16, 16), low)
    logits[top:bottom, left:right] = high
    return logits


def proposals(n, phrase=2):
    return [Proposal(box=(0, 0, 9, 9), phrase=phrase, score=0.5, made_by=MADE_BY) for _ in range(n)]


def test_the_mask_with_the_highest_predicted_iou_is_chosen_and_of_equals_the_first():
    logits = torch.arange(6.0).reshape(2, 3, 1, 1)
    best, ious = choose_best(logits, torch.tensor([[0.1, 0.9, 0.9], [0.5, 0.2, 0.7]]))
    assert best.flatten().tolist() == [1.0, 5.0]
    assert ious.tolist() == pytest.approx([0.9, 0.7])


def test_enlarging_the_chosen_mask_alone_is_enlarging_all_and_choosing_then():
    logits = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    whole = torch.nn.functional.interpolate(logits, (64, 64), mode="bilinear")[..., :32, :64]
    whole = torch.nn.functional.interpolate(whole, (30, 60), mode="bilinear")
    assert torch.equal(enlarge(logits[0, 1:2], FRAME), whole[0, 1:2])


def test_a_model_that_stretches_enlarges_in_one_step():
    logits = torch.randn(2, 16, 16, generator=torch.Generator().manual_seed(0))
    direct = torch.nn.functional.interpolate(logits[:, None], (30, 60), mode="bilinear")[:, 0]
    assert torch.equal(enlarge(logits, Frame(size_hw=(30, 60))), direct)


def test_stability_is_the_iou_of_the_masks_cut_one_above_and_one_below():
    steep, slack = blob(2, 2, 6, 6), blob(2, 2, 6, 6, high=0.5)
    slack[2:4, 2:6] = 2.0
    nothing = torch.full((16, 16), -2.0)
    assert stability_of(torch.stack([steep, slack, nothing])).tolist() == [1.0, 0.5, 0.0]


def test_stability_does_not_look_at_the_padding():
    logits = blob(2, 2, 6, 6)
    logits[8:] = 0.5
    assert without_padding(logits, FRAME).shape == (8, 16)
    found = masks_from_logits(logits[None, None], torch.tensor([[0.5]]), FRAME)
    assert found[0] is not None
    assert found[0].stability == 1.0


def test_a_mask_in_the_padding_alone_is_empty_and_gives_no_candidate():
    logits = torch.stack([blob(2, 2, 6, 6), blob(10, 0, 16, 16), blob(0, 8, 4, 12)])[:, None]
    ious = torch.tensor([[1.5], [0.9], [-0.25]])
    made = candidates_from_logits(logits, ious, FRAME, proposals=proposals(3), made_by=MADE_BY)
    assert [c.proposal for c in made] == [0, 2]
    assert [c.phrase for c in made] == [2, 2]
    assert [c.mask_score for c in made] == [1.0, 0.0]
    assert [c.made_by.score_raw for c in made] == [1.5, -0.25]
    assert made[0].made_by.model == "m"
    assert made[0].mask.size_hw == (30, 60)
    x1, y1, x2, y2 = made[0].mask.box() or (0, 0, 0, 0)
    assert (x1, y1, x2, y2) == pytest.approx((7.5, 7.5, 22.5, 22.5), abs=1)


def test_a_predicted_iou_that_is_no_number_is_refused():
    logits = blob(2, 2, 6, 6)[None, None]
    with pytest.raises(ValueError, match="nan"):
        candidates_from_logits(
            logits, torch.tensor([[torch.nan]]), FRAME, proposals=proposals(1), made_by=MADE_BY
        )


class Counted:
    """Encodes an image as its sum and remembers the batches."""

    def __init__(self):
        self.batches = []

    def __call__(self, images):
        self.batches.append(len(images))
        return [
            Encoding(features=int(image.sum()), frame=Frame(size_hw=image.shape[:2]))
            for image in images
        ]


def images(*values):
    return [np.full((2, 3, 3), value, np.uint8) for value in values]


def test_an_image_is_encoded_once_in_a_call_and_across_calls():
    encodings, encode = Encodings(4), Counted()
    first = encodings.of(images(1, 2, 1, 3), encode, batch_size=2)
    assert [e.features for e in first] == [18, 36, 18, 54]
    assert encode.batches == [2, 1]
    encodings.of(images(3, 4), encode, batch_size=2)
    assert encode.batches == [2, 1, 1]
    assert encodings.made == 4


def test_the_encoding_used_longest_ago_goes_first():
    encodings, encode = Encodings(2), Counted()
    for value in (1, 2, 1, 3, 1):
        encodings.of(images(value), encode, batch_size=1)
    assert encodings.made == 3
    encodings.of(images(2), encode, batch_size=1)
    assert encodings.made == 4


def test_a_call_with_more_images_than_room_is_answered_whole():
    encodings, encode = Encodings(1), Counted()
    found = encodings.of(images(1, 2, 3, 1), encode, batch_size=8)
    assert [e.features for e in found] == [18, 36, 54, 18]
    assert encode.batches == [3]


def test_equal_pixels_of_another_shape_are_another_image():
    encodings, encode = Encodings(4), Counted()
    wide, tall = np.zeros((2, 3, 3), np.uint8), np.zeros((3, 2, 3), np.uint8)
    assert encodings.of([wide, tall], encode, batch_size=1)[1].frame.size_hw == (3, 2)


def test_room_for_no_encoding_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        Encodings(0)
