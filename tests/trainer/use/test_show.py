"""A photograph on disk to the picture a model downstream is given."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from trainer.config import TrainRecipe
from trainer.fit import fit
from trainer.use.predictor import Predictor
from trainer.use.show import predict_file


@pytest.fixture(scope="module")
def predictor(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    raw = {
        "name": "test",
        "data": {"size_hw": (16, 24), "batch": 4},
        "model": {"width": 8, "dim": 16, "depth": 1, "heads": 2},
        "optim": {"steps": 2},
    }
    run = fit(squares, TrainRecipe.model_validate(raw), out=tmp_path_factory.mktemp("run"))
    return Predictor.from_pretrained(run)


def test_a_turned_photograph_is_shown_upright(predictor: Predictor, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "turned.jpg"
    Image.new("RGB", (40, 20), (200, 30, 30)).save(path, exif=exif)
    out = tmp_path / "seen" / "out.png"
    shown = predict_file(
        predictor, path, "the red one", out, effect="overlay", crop=False, threshold=0.0
    )
    assert shown.image.shape == (40, 20, 3)
    read = cv2.imread(str(out))
    assert read is not None
    assert np.array_equal(read[:, :, ::-1], shown.image)


def test_nothing_above_the_threshold_shows_everything_and_says_so(
    predictor: Predictor, tmp_path: Path
) -> None:
    path = tmp_path / "plain.png"
    Image.new("RGB", (30, 30), (9, 9, 9)).save(path)
    shown = predict_file(
        predictor, path, "x", tmp_path / "o.png", effect="blur", crop=True, threshold=1.0
    )
    assert shown.failed_open
    assert shown.image.shape == (30, 30, 3)


def test_what_cannot_be_done_is_said(predictor: Predictor, tmp_path: Path) -> None:
    options = {"effect": "overlay", "crop": False, "threshold": 0.5}
    with pytest.raises(ValueError, match="there is no photograph"):
        predict_file(predictor, tmp_path / "no.jpg", "x", tmp_path / "o.png", **options)
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(ValueError, match=r"\.png or \.jpg"):
        predict_file(predictor, tmp_path / "cut.jpg", "x", tmp_path / "o.gif", **options)
    with pytest.raises(ValueError, match="image-"):
        predict_file(predictor, tmp_path / "cut.jpg", "x", tmp_path / "o.png", **options)
