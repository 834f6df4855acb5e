"""A step of any method leaves its numbers on the device: reading one on the host would make every step wait."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.trainer.objectives.little_batch import little_batch, segmenter
from trainer.losses import mean_where
from trainer.models.light_head import LightHead
from trainer.models.peers import Peers
from trainer.models.tiny.discriminator import Discriminator
from trainer.objectives.config import DiscriminateConfig, LossConfig
from trainer.objectives.early_learning import EarlyLearning
from trainer.objectives.joint import Joint
from trainer.objectives.label_quality import LabelQuality
from trainer.objectives.segmentation import Segmentation
from trainer.weighting.co_teaching import CoTeaching
from trainer.weighting.confident import Confident
from trainer.weighting.dwsl import Dwsl
from trainer.weighting.gmm_split import GmmSplit
from trainer.weighting.protocol import Weigher
from trainer.weighting.self_paced import SelfPaced
from trainer.weighting.small_loss import SmallLoss

READS = {
    "aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::is_nonzero", "aten::equal",
    "aten::_linalg_check_errors",
}  # fmt: skip


class Refuse(TorchDispatchMode):
    """Raises where the host would need a number, or a shape that depends on one."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().partition(".")[0]
        by_mask = name in {"aten::index", "aten::index_put_", "aten::index_put"} and any(
            isinstance(index, Tensor) and index.dtype == torch.bool for index in args[1]
        )
        if name in READS or by_mask:
            raise AssertionError(f"{name} waits for the device")
        return func(*args, **(kwargs or {}))


WEIGHERS: list[Weigher] = [
    Dwsl(f="dwbc"),
    SmallLoss(noise_rate=0.5, warmup=0.1),
    CoTeaching(noise_rate=0.5, warmup=0.1, plus=True),
    SelfPaced(start=0.5, end=1.0),
    GmmSplit(samples=6, steps=100, warmup=0.2, every=50),
    Confident(is_issue=torch.arange(6) > 4),
]


def step_of(objective: Any, model: Any) -> None:
    batch = little_batch()
    with Refuse():
        step = objective(model, batch, 0.51)
        (step.total / step.count.clamp(min=1e-6)).backward()


@pytest.mark.parametrize("weigher", WEIGHERS, ids=lambda w: type(w).__name__)
def test_no_weigher_reads_a_number_on_the_host(weigher: Weigher):
    model = segmenter() if weigher.peers == 1 else Peers([segmenter(0), segmenter(1)])
    step_of(Segmentation(loss=LossConfig(), weigher=weigher), model)


def test_neither_do_the_regulariser_and_the_joint_form():
    elr = EarlyLearning(samples=6, size_hw=(32, 32), weight=3.0, beta=0.7, cell=4)
    weigher = SmallLoss(noise_rate=0.5, warmup=0.1)
    step_of(Segmentation(loss=LossConfig(), weigher=weigher, regulariser=elr), segmenter())
    head = LightHead(channels=32, text_dim=16)
    judge = DiscriminateConfig(judged=0.5)
    joint = Joint(loss=LossConfig(), judge=judge, head=head, weigher=Dwsl(), warmup=0.1)
    step_of(joint, segmenter())


@pytest.mark.parametrize("loss", ["pu", "bce"])
def test_neither_does_what_teaches_the_discriminator(loss: Any):
    judge = Discriminator(guesser=segmenter(), width=8, dim=16)
    step_of(LabelQuality(config=DiscriminateConfig(loss=loss, judged=0.5)), judge)


def test_a_read_would_be_noticed():
    values = torch.rand(4)
    with Refuse():
        mean_where(values, values > 0.5)
        with pytest.raises(AssertionError, match="waits"):
            float(values.sum())
        with pytest.raises(AssertionError, match="waits"):
            values[values > 0.5].sum()
