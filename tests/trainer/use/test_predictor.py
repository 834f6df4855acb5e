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
    probability = Predictor.from_pretrained(run).predict(image(*size), "the red square")
    assert probability.shape == size
    assert probability.dtype == np.float32
    assert probability.min() >= 0
    assert probability.max() <= 1


def test_several_instructions_give_what_each_gives_alone(run: Path):
    predictor = Predictor.from_pretrained(run)
    texts = ["the red square", "blue", "пустой " * 2000]
    together = predictor.predict_all(image(40, 56), texts)
    for text, its in zip(texts, together, strict=True):
        assert np.array_equal(predictor.predict(image(40, 56), text), its)


def test_a_batch_of_mixed_sizes_gives_single_calls_to_the_bit(run: Path):
    predictor = Predictor.from_pretrained(str(run), device="cpu")
    pictures = [image(40, 56), image(1, 1), image(90, 20)]
    texts = ["red", "find the blue one", "red"]
    together = predictor.predict_batch(pictures, texts)
    assert [p.shape for p in together] == [(40, 56), (1, 1), (90, 20)]
    for picture, text, its in zip(pictures, texts, together, strict=True):
        assert its.dtype == np.float32
        assert np.array_equal(predictor.predict(picture, text), its)
    assert not np.array_equal(together[0], predictor.predict(pictures[0], texts[1]))
    assert predictor.predict_batch([], []) == []


def test_what_a_batch_cannot_be_is_refused(run: Path):
    predictor = Predictor.from_pretrained(run)
    with pytest.raises(ValueError, match="1 images and 2 instructions"):
        predictor.predict_batch([image(8, 8)], ["red", "blue"])
    with pytest.raises(ValueError, match="expected at least one"):
        predictor.predict_all(image(8, 8), [])


@pytest.mark.gpu
def test_on_a_gpu_a_batch_gives_single_calls_up_to_rounding(run: Path):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    predictor = Predictor.from_pretrained(run)
    assert predictor.device.type == "cuda"
    pictures, texts = [image(40, 56), image(90, 20)], ["red", "find the blue one"]
    alone = Predictor.from_pretrained(run, device="cpu")
    for picture, text, its in zip(
        pictures, texts, predictor.predict_batch(pictures, texts), strict=True
    ):
        assert np.allclose(its, predictor.predict(picture, text), atol=1e-3)
        assert np.allclose(its, alone.predict(picture, text), atol=1e-2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "no such place"}, "no such file or folder, and not an org/name"),
        ({"device": "cuda:99"} if not torch.cuda.is_available() else {"device": "x"}, "device"),
        ({"device": "lamp"}, "expected auto, cpu or cuda"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(run: Path, options: dict, message: str):
    with pytest.raises(ValueError, match=message) as caught:
        Predictor.from_pretrained(**({"name": run} | options))
    assert "\n" not in str(caught.value)


def test_both_tiers_agree(run: Path):
    predictor = Predictor.from_pretrained(run)
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
        (np.zeros((8, 8, 3), np.uint8), "  ", "expected a text that is not blank"),
    ],
)
def test_wrong_input_is_refused(run: Path, picture: np.ndarray, text: str, message: str):
    with pytest.raises(ValueError, match=message):
        Predictor.from_pretrained(run).predict(picture, text)


def test_stretching_keeps_a_constant_and_the_range():
    assert np.allclose(stretch(np.full((4, 6), 0.3, np.float32), (9, 7)), 0.3)
    steep = stretch(np.eye(4, dtype=np.float32), (31, 17))
    assert steep.min() >= 0
    assert steep.max() <= 1


def test_a_damaged_or_absent_model_is_refused(run: Path, tmp_path: Path):
    with pytest.raises(ValueError, match="finished `maskmix fit`"):
        Predictor.from_pretrained(tmp_path)
    for name in ("model.json", "model.safetensors"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    data = bytearray((tmp_path / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(bytes(data))
    with pytest.raises(ValueError, match=r"model\.safetensors is not what model\.json says"):
        Predictor.from_pretrained(tmp_path)
