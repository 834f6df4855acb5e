"""Gold from files, run lengths, polygons and boxes, and what is refused."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from annotators.masks import encode_mask
from pipeline.intake import gold_masks
from pipeline.intake.refusal import Refused

SIZE = (6, 9)


def shape() -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[1:4, 2:7] = True
    mask[3, 2] = False
    return mask


def reason(call, *arguments: object) -> str:
    with pytest.raises(Refused) as caught:
        call(*arguments)
    return caught.value.reason


@pytest.mark.parametrize("kind", ["255", "1", "bits", "palette", "colour", "16-bit"])
def test_every_kind_of_mask_file_gives_the_same_mask(kind: str, tmp_path: Path):
    mask, path = shape(), tmp_path / "m.png"
    if kind == "bits":
        Image.fromarray(mask).save(path)
    elif kind == "palette":
        image = Image.fromarray(mask.astype(np.uint8))
        image.putpalette([0, 0, 0, 200, 10, 10])
        image.save(path)
    else:
        pixels = mask.astype(np.uint16 if kind == "16-bit" else np.uint8)
        pixels = pixels * {"255": 255, "1": 1, "colour": 90, "16-bit": 300}[kind]
        cv2.imwrite(
            str(path), np.dstack([pixels * 0, pixels, pixels * 0]) if kind == "colour" else pixels
        )
    assert (gold_masks.mask_from_file(path, SIZE).array() == mask).all()


def test_a_mask_file_of_another_size_is_refused_and_a_turned_one_is_named(tmp_path: Path):
    cv2.imwrite(str(tmp_path / "m.png"), np.zeros((9, 6), np.uint8))
    with pytest.raises(Refused, match="before EXIF") as caught:
        gold_masks.mask_from_file(tmp_path / "m.png", SIZE)
    assert caught.value.reason == "mask-size"


def test_mask_files_that_cannot_be_trusted_are_refused(tmp_path: Path):
    image = Image.fromarray(shape().astype(np.uint8) * 255)
    image.save(tmp_path / "m.jpg")
    Image.merge("LA", (image, image)).save(tmp_path / "alpha.png")
    image.save(tmp_path / "good.png")
    good = (tmp_path / "good.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(good[:-3])
    (tmp_path / "empty.png").write_bytes(b"")
    for name, expected in {
        "m.jpg": "mask-format",
        "alpha.png": "mask-format",
        "empty.png": "mask-format",
        "cut.png": "mask-damaged",
        "none.png": "mask-missing",
        ".": "mask-not-a-file",
    }.items():
        assert reason(gold_masks.mask_from_file, tmp_path / name, SIZE) == expected, name


def test_compressed_and_plain_run_lengths_agree_with_pycocotools():
    coded = encode_mask(shape())
    runs = [0]
    for value in shape().T.ravel():
        if bool(len(runs) % 2) == bool(value):
            runs.append(0)
        runs[-1] += 1
    for counts in (coded.counts, runs):
        got = gold_masks.mask_from_rle({"size": list(SIZE), "counts": counts}, SIZE)
        assert (got.array() == shape()).all()
    assert (
        coco_mask.decode({"size": list(SIZE), "counts": coded.counts.encode()}) == shape()
    ).all()


@pytest.mark.parametrize(
    ("rle", "expected"),
    [
        ({"size": [9, 6], "counts": [54]}, "mask-size"),
        ({"size": [6, 9], "counts": [53]}, "mask-damaged"),
        ({"size": [6, 9], "counts": [60, -6]}, "mask-damaged"),
        ({"size": [6, 9], "counts": [54.0]}, "mask-damaged"),
        ({"size": [6, 9], "counts": "not RLE"}, "mask-damaged"),
        ({"size": [6, 9], "counts": ""}, "mask-damaged"),
        ({"size": 54, "counts": [54]}, "mask-damaged"),
        ({"counts": [54]}, "mask-damaged"),
        ("54", "mask-damaged"),
        (None, "mask-damaged"),
    ],
)
def test_run_lengths_that_do_not_fit_are_refused(rle: object, expected: str):
    assert reason(gold_masks.mask_from_rle, rle, SIZE) == expected


def test_one_polygon_or_several_give_their_union():
    one, other = [2, 1, 5, 1, 5, 4, 2, 4], [6, 0, 8, 0, 8, 2, 6, 2]
    single = gold_masks.mask_from_polygons(one, SIZE)
    assert single == gold_masks.mask_from_polygons([one], SIZE)
    both = gold_masks.mask_from_polygons([one, other], SIZE)
    assert both.area() == single.area() + gold_masks.mask_from_polygons(other, SIZE).area() > 0
    assert gold_masks.mask_from_polygons([], SIZE).area() == 0


@pytest.mark.parametrize(
    "polygons",
    ["abc", [[1, 2]], [[1, 2, 3, 4, 5]], [1, "2"], [[0, 0, 1e9, 0, 0, 1e9]], {"a": 1}, [True] * 6],
)
def test_polygons_that_are_none_are_refused(polygons: object):
    assert reason(gold_masks.mask_from_polygons, polygons, SIZE) == "mask-damaged"


def test_a_box_is_filled_by_pixel_centres():
    assert gold_masks.mask_from_box([2, 1, 5, 3], SIZE).area() == 6
    assert gold_masks.mask_from_box([2.4, 1, 5.6, 2], SIZE).box() == (2, 1, 6, 2)


@pytest.mark.parametrize(
    "box", [[0, 0, 10, 2], [3, 3, 2, 5], [0, 0, 1], ["a"] * 4, None, [float("nan")] * 4]
)
def test_a_box_that_is_empty_or_leaves_the_image_is_refused(box: object):
    assert reason(gold_masks.mask_from_box, box, SIZE) == "mask-damaged"
