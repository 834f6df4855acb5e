"""A step of contrastive feature masking against plain contrastive training of the same encoders: what does it cost?

Run: python -m benchmarks.cfm_step (some minutes). Target: at most 1.1 times as long, a ratio of 0.91. The peer encodes
all patches of an image once; ours encodes three quarters for the contrast and one quarter for the reconstruction, and
pays for the decoder, the choice of patches and the lists of them. Sizes are those of a small ViT at 224 pixels. Whole
training steps of trainer.engine.loop on batches made before, turn about. The two do different work by design, so their
answers are held to what they share: how many patches were encoded, which is equal, and a loss that is finite.
"""

from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.made_batch import made_batch
from benchmarks.ratio import compare, run
from trainer.data.batch import Batch
from trainer.engine.config import OptimConfig, RunConfig
from trainer.engine.distributed import World
from trainer.engine.loop import Training
from trainer.masking.uniform import Uniform
from trainer.models.saved_model import seeded
from trainer.models.vit.config import VitConfig
from trainer.models.vit.dual import Dual
from trainer.objectives.cfm import Cfm
from trainer.objectives.config import CfmConfig

ROUNDS = 15
BATCH, SIDE, WORDS = 8, 224, 12
VIT = VitConfig(patch=16, dim=192, depth=12, heads=3)
WIDTHS: dict[str, Any] = {"joint_dim": 128, "text_dim": 192, "text_heads": 3}
PLAIN = CfmConfig(reconstruct="none", contrast="all", ped=0.0, **WIDTHS)


def measure_features() -> bool:
    return _against_plain("a step of CFM", CfmConfig(**WIDTHS))


def measure_pixels() -> bool:
    """Not CFM, but what it is compared with: pixels filled in beside the contrast, at the same number of patches."""
    return _against_plain("a step with pixels filled in", CfmConfig(reconstruct="pixels", **WIDTHS))


class Steps:
    """One step of a training at each call; how many patches of an image it encoded, and its loss."""

    def __init__(self, config: CfmConfig) -> None:
        with seeded(0):
            model = Dual(VIT, config=config, vocabulary=400, max_tokens=WORDS)
        first = model.encoder.blocks[0]
        assert isinstance(first, nn.Module)
        first.register_forward_pre_hook(self._count)
        self.training = Training(
            model,
            Cfm(config, masking=Uniform(ratio=0.75)),
            optim=OptimConfig(steps=10 * ROUNDS, warmup=2),
            run=RunConfig(device="cpu"),
            world=World(),
            seed=0,
        )
        self.training.resume(None)
        self.batches = [make_batch(number) for number in range(4)]
        self.done = 0
        self.encoded = 0

    def __call__(self) -> tuple[int, bool]:
        self.encoded = 0
        self.training.step(self.done, self.batches[self.done % len(self.batches)])
        self.done += 1
        return self.encoded, self.training.bad_steps() == 0

    def _count(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.encoded += inputs[0].shape[1]


def make_batch(number: int) -> Batch:
    """Noise, and texts of random words."""
    generator = torch.Generator().manual_seed(number)
    image = torch.rand(BATCH, 3, SIDE, SIDE, generator=generator)
    tokens = torch.randint(2, 400, (BATCH, WORDS), generator=generator)
    return made_batch(image, tokens=tokens, seed=number)


def _against_plain(what: str, config: CfmConfig) -> bool:
    return compare(
        f"{what}; plain contrastive",
        ours=Steps(config),
        peer=Steps(PLAIN),
        peer_name="torch",
        same=lambda ours, theirs: ours == theirs == (196, True),
        target=0.909,
        units=BATCH,
        unit="images",
        rounds=ROUNDS,
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    run(measure_features, measure_pixels)
