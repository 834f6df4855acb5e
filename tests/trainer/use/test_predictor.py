"""The predictor's two tiers, and a model on disk that is whole or refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

from trainer.config import TrainRecipe
from trainer.fit import fit
from trainer.use.predictor import Predictor, stretch


@pytest.fixture(scope="module")
def run(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    raw = {
        "name": "test",
        "data": {"size_hw": (16, 24), "batch": 4},
        "model": {"width": 8, "dim": 16, "depth": 1, "heads": 2},
        "optim": {"steps": 2},
    }
    return fit(squares, TrainRecipe.model_validate(raw), out=tmp_path_factory.mktemp("run"))


def image(h: int, w: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (h, w, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(16, 24), (37, 211), (1, 1), (480, 360)])
def test_the_answer_has_the_size_of_the_question(run: Path, size: tuple[int, int]):
    probability = Predictor.from_folder(run).predict(image(*size), "the red square")
    assert probability.shape == size
    assert probability.dtype == np.float32
    assert probability.min() >= 0
    assert probability.max() <= 1


def test_several_instructions_give_what_each_gives_alone(run: Path):
    predictor = Predictor.from_folder(run)
    texts = ["the red square", "blue", "пустой " * 2000]
    together = predictor.predict_all(image(40, 56), texts)
    for text, its in zip(texts, together, strict=True):
        assert np.allclose(predictor.predict(image(40, 56), text), its, atol=1e-5)


def test_both_tiers_agree(run: Path):
    predictor = Predictor.from_folder(run)
    picture = image(16, 24)
    tensor = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
    logits = predictor.predict_logits(tensor, predictor.model.tokenizer.encode(["red"]))
    assert np.allclose(logits.sigmoid()[0, 0].numpy(), predictor.predict(picture, "red"), atol=1e-6)


@pytest.mark.parametrize(
    ("picture", "text", "message"),
    [
        (np.zeros((8, 8), np.uint8), "red", "convert grey"),
        (np.zeros((8, 8, 4), np.uint8), "red", "convert grey"),
        (np.zeros((8, 8, 3), np.float32), "red", "float32"),
        (np.zeros((0, 8, 3), np.uint8), "red", r"\(0, 8, 3\)"),
        (np.zeros((8, 8, 3), np.uint8), "  ", "none of them blank"),
    ],
)
def test_wrong_input_is_refused(run: Path, picture: np.ndarray, text: str, message: str):
    with pytest.raises(ValueError, match=message):
        Predictor.from_folder(run).predict(picture, text)


def test_stretching_keeps_a_constant_and_the_range():
    assert np.allclose(stretch(np.full((4, 6), 0.3, np.float32), (9, 7)), 0.3)
    steep = stretch(np.eye(4, dtype=np.float32), (31, 17))
    assert steep.min() >= 0
    assert steep.max() <= 1


def test_a_damaged_or_absent_model_is_refused(run: Path, tmp_path: Path):
    with pytest.raises(ValueError, match="finished `maskmix fit`"):
        Predictor.from_folder(tmp_path)
    for name in ("model.json", "model.safetensors"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    data = bytearray((tmp_path / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(bytes(data))
    with pytest.raises(ValueError, match=r"model\.safetensors is not what model\.json says"):
        Predictor.from_folder(tmp_path)
