"""Lower precision, other layouts and compiled models: the same training up to what they may cost."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.trainer.engine.tiny_training import Numbers, lines, run, squared
from trainer.data.batch import Batch
from trainer.engine.config import RunConfig
from trainer.engine.precision import seen_by_objectives
from trainer.objectives.config import LossConfig
from trainer.objectives.protocol import Step
from trainer.objectives.segmentation import Segmentation
from trainer.weighting.dwsl import Dwsl


@dataclass(frozen=True)
class Seen:
    maps: tuple[Tensor, ...]
    real: Tensor


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 4)
        self.ran: list[torch.dtype] = []

    def encode(self, x: Tensor) -> Seen:
        y = self.layer(x)
        self.ran.append(y.dtype)
        return Seen(maps=(y, y), real=x > 0)

    def forward(self, x: Tensor) -> Tensor:
        return self.encode(x).maps[0].sum(1, keepdim=True)


def test_the_models_own_methods_run_lowered_and_answer_in_float32():
    model = Two()
    seen = seen_by_objectives(model, device_type="cpu", precision="bfloat16", compiled=False)
    x = torch.randn(2, 3)
    answer = seen.encode(x)
    assert model.ran == [torch.bfloat16]
    assert [m.dtype for m in answer.maps] == [torch.float32] * 2
    assert answer.real.dtype == torch.bool
    assert seen(x).dtype == torch.float32
    assert seen.layer is model.layer
    assert list(seen.parameters()) == list(model.parameters())
    assert not torch.is_autocast_enabled("cpu")
    plain = seen_by_objectives(model, device_type="cpu", precision="float32", compiled=False)
    assert plain is model


def test_bfloat16_stays_near_float32_and_keeps_parameters_and_losses_in_float32(tmp_path: Path):
    def watching(model: Any, batch: Numbers, progress: float) -> Step:
        step = squared(model, batch, progress)
        assert step.total.dtype == torch.float32
        return step

    run(tmp_path / "full", steps=60)
    model, _ = run(tmp_path / "lower", steps=60, precision="bfloat16", objective=watching)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    full, lower = ([line["loss"] for line in lines(tmp_path / name)] for name in ("full", "lower"))
    assert full != lower
    assert sum(lower[-10:]) == pytest.approx(sum(full[-10:]), rel=0.05)
    assert sum(lower[-10:]) < 0.9 * sum(lower[:10])


def test_a_bfloat16_run_is_resumed_bit_for_bit(tmp_path: Path):
    whole, _ = run(tmp_path / "whole", precision="bfloat16")
    run(tmp_path / "parts", precision="bfloat16", stop_at=8)
    resumed, _ = run(tmp_path / "parts", precision="bfloat16")
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))  # fmt: skip


def convolving() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Unflatten(1, (3, 1, 1)), nn.Conv2d(3, 8, 3, padding=1), nn.GELU(), nn.Flatten(), nn.Linear(8, 1)
    )  # fmt: skip


def test_channels_last_changes_layout_and_resumes_in_it(tmp_path: Path):
    where = RunConfig(device="cpu", channels_last=True)
    plain, _ = run(model=convolving())
    whole, _ = run(tmp_path / "whole", model=convolving(), where=where)
    run(tmp_path / "parts", model=convolving(), where=where, stop_at=8)
    resumed, _ = run(tmp_path / "parts", model=convolving(), where=where)
    kernel = whole[1].weight  # type: ignore[index]
    assert kernel.is_contiguous(memory_format=torch.channels_last)  # type: ignore[call-arg]
    for a, b, c in zip(whole.parameters(), resumed.parameters(), plain.parameters(), strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(a, c, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_compiled_model_trains_like_an_eager_one(tmp_path: Path):
    run(tmp_path / "eager")
    run(tmp_path / "compiled", where=RunConfig(device="cpu", compile=True))
    for a, b in zip(lines(tmp_path / "eager"), lines(tmp_path / "compiled"), strict=True):
        assert a == pytest.approx(b, rel=1e-3)


class Conv(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.GELU(), nn.Conv2d(8, 1, 1))

    def forward(self, image: Tensor, tokens: Tensor, embedding: Tensor | None = None) -> Tensor:
        return self.layers(image)


def photos_at(step: int) -> Batch:
    generator = torch.Generator().manual_seed(step)
    image = torch.rand(6, 3, 16, 24, generator=generator)
    mask = (image[:, :1] > 0.5).float()
    return Batch(
        image=image, tokens=torch.ones(6, 4, dtype=torch.int64), mask=mask, label=mask,
        pixel_valid=torch.ones_like(mask), theta=torch.eye(2, 3).expand(6, 2, 3), weight=torch.ones(6),
        p_clean=torch.rand(6, generator=generator), is_gold=torch.arange(6) < 2, rows=torch.arange(6),
        ids=tuple("abcdef"), chance=torch.arange(6),
    )  # fmt: skip


def photographic(folder: Path, device: str, **options: Any) -> list[float]:
    """The losses of a training on photographs."""
    torch.manual_seed(0)
    where = RunConfig(device=device, channels_last=device == "cuda")  # type: ignore[arg-type]
    objective = Segmentation(loss=LossConfig(), weigher=Dwsl(f="ratio"))
    run(folder, **{"model": Conv(), "objective": objective, **options}, batch_at=photos_at, where=where)  # fmt: skip
    return [line["loss"] for line in lines(folder)]


def test_a_weighted_mask_loss_stays_near_in_bfloat16(tmp_path: Path):
    full = photographic(tmp_path / "full", "cpu")
    assert photographic(tmp_path / "lower", "cpu", precision="bfloat16") == pytest.approx(
        full, rel=0.02
    )


@pytest.mark.gpu
def test_between_log_lines_a_gpu_is_never_waited_for(tmp_path: Path):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    inner = Segmentation(loss=LossConfig(), weigher=Dwsl(f="ratio"))

    def watching(model: Any, batch: Batch, progress: float) -> Step:
        torch.cuda.set_sync_debug_mode("error" if 1 < round(progress * 20) < 8 else "default")
        return inner(model, batch, progress)

    try:
        photographic(tmp_path, "cuda", objective=watching, log_every=10, checkpoint_every=20)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_gpu_trains_like_the_cpu_and_its_checkpoint_goes_on_there(tmp_path: Path, precision: str):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    full = photographic(tmp_path / "cpu", "cpu")
    photographic(tmp_path / "gpu", "cuda", precision=precision, stop_at=8)
    mixed = photographic(tmp_path / "gpu", "cpu", precision=precision)
    assert mixed == pytest.approx(full, rel={"float32": 1e-3, "bfloat16": 0.05}[precision])
