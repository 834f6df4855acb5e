"""SAM's frozen encoder in front of a decoder: segment-anything's features of the squashed image, and no gradient."""

from pathlib import Path

import pytest
import torch

from tests.annotators.sam.tiny_sam import save, tiny_sam
from trainer.models.frozen.sam import FrozenSam, load_frozen_sam, squash


def test_features_are_segment_anythings_of_the_squashed_and_normalised_image(
    tmp_path: Path,
) -> None:
    sam = tiny_sam()
    frozen = load_frozen_sam(str(save(sam, tmp_path / "sam.pth")))
    image = torch.rand(2, 3, 96, 160)
    square = torch.nn.functional.interpolate(image, (128, 128), mode="bilinear", antialias=True)
    mean = torch.tensor([123.675, 116.28, 103.53])[:, None, None]
    std = torch.tensor([58.395, 57.12, 57.375])[:, None, None]
    with torch.no_grad():
        want = sam.image_encoder((square * 255 - mean) / std)
    got = frozen(image)
    assert got.shape == (2, 32, 8, 8)
    assert frozen.channels == 32
    assert frozen.side == 128
    torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)


def test_nothing_of_it_learns_or_is_saved() -> None:
    frozen = FrozenSam(tiny_sam().image_encoder)
    assert not any(p.requires_grad for p in frozen.parameters())
    assert not frozen(torch.rand(1, 3, 128, 128, requires_grad=True)).requires_grad
    assert {*frozen.state_dict()} == {name for name, _ in frozen.named_parameters()}


def test_autocast_changes_no_feature() -> None:
    frozen = FrozenSam(tiny_sam().image_encoder)
    image = torch.rand(1, 3, 128, 128)
    plain = frozen(image)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(frozen(image), plain)


def test_an_image_of_the_right_size_is_left_alone_and_others_stay_in_range() -> None:
    image = torch.rand(1, 3, 8, 8).round()
    assert squash(image, (8, 8)) is image
    wide = squash(image, (31, 17), mode="bicubic")
    assert wide.shape == (1, 3, 31, 17)
    assert wide.min() >= 0
    assert wide.max() <= 1


def test_a_missing_checkpoint_is_named_with_the_way_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no such file.*wget"):
        load_frozen_sam(str(tmp_path / "sam_vit_h_4b8939.pth"))
