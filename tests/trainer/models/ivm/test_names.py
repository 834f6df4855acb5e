"""The published file by name: the full list of its tensors fits the reference, and a wrong file is told apart."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.trainer.models.ivm.test_model import reference
from tests.trainer.models.tiny_ivm import model_of, published_shapes, tokens_of
from tests.trainer.models.tiny_llava import save_llava
from trainer.models.ivm.names import load_published, published_name
from trainer.models.saved_model import trained_tensors

pytestmark = pytest.mark.slow  # transformers is imported


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llava(tmp_path_factory.mktemp("llava"))


@pytest.fixture
def tiny() -> dict[str, Tensor]:
    """A random file of the published names, with the tiny model's sizes."""
    rng = torch.Generator().manual_seed(8)
    shapes = published_shapes(layers=2, width=32, hidden=24, dim=32, mlp=48)
    return {name: torch.randn(shape, generator=rng) * 0.2 for name, shape in shapes.items()}


def test_the_reference_has_exactly_the_published_names_and_shapes() -> None:
    ours = {published_name(n): tuple(t.shape) for n, t in trained_tensors(reference()).items()}
    theirs = published_shapes()
    assert ours == theirs
    frequencies = "mask_decoder.pe_layer.positional_encoding_gaussian_matrix"
    numbers = {name: torch.Size(shape).numel() for name, shape in theirs.items()}
    assert sum(numbers.values()) - numbers[frequencies] == 16_614_784
    assert round(4 * sum(numbers.values()) / 1e6, 1) == 66.5


@pytest.mark.parametrize("suffix", [".bin", ".safetensors"])
def test_a_random_file_of_the_published_names_loads_by_name(
    folder: Path, tiny: dict[str, Tensor], tmp_path: Path, suffix: str
) -> None:
    file = tmp_path / f"IVM-V1.0{suffix}"
    if suffix == ".bin":
        torch.save(tiny, file)
    else:
        save_file(tiny, file)
    model = model_of(folder).eval()
    image, rows = torch.rand(1, 3, 40, 40), tokens_of(folder).encode(["find the red square"])
    before = model(image, rows)
    load_published(model, file)
    for name, tensor in trained_tensors(model).items():
        assert torch.equal(tensor, tiny[published_name(name)]), name
    assert (model(image, rows) - before).abs().max() > 1e-3


def test_half_precision_is_read_as_float32(
    folder: Path, tiny: dict[str, Tensor], tmp_path: Path
) -> None:
    torch.save({name: tensor.half() for name, tensor in tiny.items()}, tmp_path / "x.bin")
    model = model_of(folder)
    load_published(model, tmp_path / "x.bin")
    assert {t.dtype for t in trained_tensors(model).values()} == {torch.float32}


def test_every_disagreement_is_in_one_message_and_changes_nothing(
    folder: Path, tiny: dict[str, Tensor], tmp_path: Path
) -> None:
    del tiny["mask_decoder.pe_layer.positional_encoding_gaussian_matrix"]
    tiny["mask_decoder.iou_token.weight"] = torch.zeros(1, 32)
    tiny["prompt_encoder.text_proj.fc2.bias"] = torch.zeros(31)
    torch.save(tiny, tmp_path / "x.bin")
    model = model_of(folder)
    before = {name: tensor.clone() for name, tensor in trained_tensors(model).items()}
    with pytest.raises(ValueError, match="does not fit") as caught:
        load_published(model, tmp_path / "x.bin")
    text = str(caught.value)
    assert "lacks 1 tensors (mask_decoder.pe_layer.positional_encoding_gaussian_matrix)" in text
    assert "unknown 1 tensors (mask_decoder.iou_token.weight)" in text
    assert "prompt_encoder.text_proj.fc2.bias (31,) for (32,)" in text
    assert all(torch.equal(t, before[n]) for n, t in trained_tensors(model).items())


class Runs:
    """Something that an unguarded load would run."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("run",)


def test_files_that_are_no_table_of_tensors_are_refused(folder: Path, tmp_path: Path) -> None:
    model = model_of(folder)
    (tmp_path / "garbage.bin").write_bytes(b"garbage")
    (tmp_path / "garbage.safetensors").write_bytes(b"garbage")
    torch.save({"a": Runs()}, tmp_path / "runs.bin")
    torch.save([torch.zeros(1)], tmp_path / "list.bin")
    for name, said in {
        "garbage.bin": "cannot be read",
        "garbage.safetensors": "damaged",
        "runs.bin": "cannot be read",
        "list.bin": "no plain table",
        "absent.bin": "no such file",
    }.items():
        with pytest.raises(ValueError, match=said):
            load_published(model, tmp_path / name)
