"""What processes contrast together has the gradients of one process with the whole batch."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.trainer.engine.test_distributed import torchrun
from tests.trainer.engine.tiny_training import lines
from tests.trainer.objectives.contrasting import CASES, SMALL, gradients, learn
from trainer.engine.distributed import World
from trainer.engine.gathering import gathered
from trainer.objectives.config import CfmConfig


@pytest.fixture(scope="module")
def by_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    process = torchrun("-m", "tests.trainer.objectives.contrasting", str(folder))
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-3000:]
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_processes_have_the_gradients_of_one_with_the_whole_batch(by_two: Path, case: str):
    config, masking, image_of = CASES[case]
    one = gradients(config, masking, World(), image_of=image_of)
    two = load_file(by_two / f"{case}.safetensors")
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(
            two[name], value, rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}"
        )
    assert (one["negatives"] == 7) == (config.repeats == "negatives")


@pytest.mark.slow
def test_a_training_by_two_processes_logs_what_one_logs(by_two: Path, tmp_path: Path):
    learn(CfmConfig(**SMALL), tmp_path, clip_norm=1e6)
    for one, two in zip(lines(tmp_path), lines(by_two / "run"), strict=True):
        assert two == pytest.approx(one, rel=1e-3)


def test_a_process_alone_gathers_what_it_has():
    x = torch.randn(3, 2, requires_grad=True)
    assert gathered(x, World()) is x
