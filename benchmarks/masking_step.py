"""A step of masked image modelling with SBAM's salience against one with random masking: what does looking cost?

Run: python -m benchmarks.masking_step (about three minutes). Target: at most 2 %, a ratio of 0.98. Vision transformers
of 12 blocks, width 192 (ViT-Ti) and 384 (ViT-S), patches of 16 pixels in frames of 224, batches of 8, three quarters
hidden, the decoder of the recipes (half the width, two blocks); one thread. Single steps take turns. Salience is
drowned in noise here, so that both sides hide the same patches and must hold the same parameters after every step; what
it costs is the same. Beside the ratio of whole steps stands what the maskings alone take of a step: on a busy machine
that says more.
"""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.made_batch import made_batch
from benchmarks.ratio import compare, run, say
from trainer.data.batch import Batch
from trainer.engine.config import OptimConfig, RunConfig
from trainer.engine.distributed import World
from trainer.engine.loop import Training
from trainer.masking.protocol import Masking, Patches
from trainer.masking.ratios import FixedRatio
from trainer.masking.salience import Salience
from trainer.masking.uniform import Uniform
from trainer.models.saved_model import seeded
from trainer.models.vit.autoencoder import Autoencoder
from trainer.models.vit.config import VitConfig
from trainer.objectives.config import MimConfig
from trainer.objectives.mim import Mim

ROUNDS, BATCH, SIDE = 31, 8, 224
TARGET = 0.02
OPTIM = OptimConfig(steps=2 * ROUNDS, warmup=2)
RANDOM = Uniform(ratio=0.75)
SALIENT = Salience(ratio=FixedRatio(ratio=0.75), noise=1e9)


def measure_tiny() -> bool:
    return _measure(192, heads=3)


def measure_small() -> bool:
    return _measure(384, heads=6)


def make_batch() -> Batch:
    """Smooth noise, as bright and dark as photographs are."""
    generator = torch.Generator().manual_seed(0)
    small = torch.rand(BATCH, 3, 28, 28, generator=generator)
    return made_batch(torch.nn.functional.interpolate(small, size=(SIDE, SIDE), mode="bilinear"))


class Steps:
    """One step of a training at each call; the parameters of the model after it."""

    def __init__(self, masking: Masking, *, width: int, heads: int) -> None:
        vit = VitConfig(patch=16, dim=width, depth=12, heads=heads, table_hw=(14, 14))
        with seeded(0):
            self.model = Autoencoder(vit, config=MimConfig())
        objective = Mim(MimConfig(), masking=masking)
        self.training = Training(
            self.model, objective, optim=OPTIM, run=RunConfig(device="cpu"), world=World(), seed=0
        )
        self.training.resume(None)
        self.batch = make_batch()
        self.done = 0

    def __call__(self) -> list[Tensor]:
        self.training.step(self.done, self.batch)
        self.done += 1
        return [p.detach() for p in self.model.parameters()]


def _measure(width: int, *, heads: int) -> bool:
    ours = Steps(SALIENT, width=width, heads=heads)
    reached = compare(
        f"a step of MIM with salience, width {width}; with random masking",
        ours=ours, peer=Steps(RANDOM, width=width, heads=heads), peer_name="torch", same=_same,
        target=1.0 - TARGET, units=BATCH, unit="images", rounds=ROUNDS,
    )  # fmt: skip
    with torch.no_grad():
        asked = Patches(
            tokens=ours.model.embed(ours.batch.image), grid_hw=(14, 14), chance=ours.batch.chance
        )
    step, salient, drawn = _times(ours, lambda: SALIENT(asked), lambda: RANDOM(asked))
    share = (salient - drawn) / step
    say(
        f"  salience alone: {1e3 * salient:.2f} ms, random masking {1e3 * drawn:.2f} ms, a step {step:.3f} s (CPU)"
    )
    say(
        f"  more by salience: {share:.2%} of a step; target {TARGET:.0%}: {'reached' if share <= TARGET else 'MISSED'}"
    )
    return reached and share <= TARGET


def _times(*works: Callable[[], object]) -> list[float]:
    """Median CPU-seconds of each, turn about."""
    times: list[list[float]] = [[] for _ in works]
    for _ in range(ROUNDS // 2):
        for work, spent in zip(works, times, strict=True):
            start = time.process_time()
            work()
            spent.append(time.process_time() - start)
    return [statistics.median(spent) for spent in times]


def _same(ours: object, theirs: object) -> bool:
    assert isinstance(ours, list)
    assert isinstance(theirs, list)
    return all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


if __name__ == "__main__":
    torch.set_num_threads(1)
    run(measure_tiny, measure_small)
