"""A training step with DWSL against a plain supervised one, on the same batches: what does weighting cost?

Run: python -m benchmarks.dwsl_step (about a minute). Targets: weights from the sidecar cost at most 2 % (a ratio of
0.98), a light head that learns beside the segmenter at most 5 % (0.952). The peer's loss is the mean of BCE and Dice,
without weights; model, frame and what the head learns from are the recipe tiny's, batches are made before. Single steps
take turns. Verdicts are made such that every weight is 1, which costs the same as any other, so that both sides must
hold the same parameters after every step.
"""

from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.made_batch import made_batch
from benchmarks.ratio import compare, run
from trainer.config import TrainRecipe, load
from trainer.data.batch import Batch
from trainer.engine.config import OptimConfig, RunConfig
from trainer.engine.distributed import World
from trainer.engine.loop import Training
from trainer.losses import bce_per_sample, dice_per_sample
from trainer.models.light_head import LightHead
from trainer.models.saved_model import seeded
from trainer.models.tiny.encoders import ImageEncoder
from trainer.models.tiny.segmenter import Segmenter
from trainer.objectives.joint import Joint
from trainer.objectives.protocol import Step
from trainer.objectives.segmentation import Segmentation
from trainer.weighting.dwsl import Dwsl
from trainer.weighting.uniform import Uniform

ROUNDS = 101
OPTIM = OptimConfig(steps=2 * ROUNDS, warmup=2, clip_norm=1e6)
"""No clipping: the norm of a head's gradients would reach the segmenter's."""


def plain(model: nn.Module, batch: Batch, progress: float) -> Step:
    """Supervised learning as it is without weights."""
    logits: Tensor = model(batch.image, batch.tokens)
    losses = bce_per_sample(logits, batch.mask, batch.pixel_valid)
    losses = losses + dice_per_sample(logits, batch.mask, batch.pixel_valid)
    count = torch.tensor(float(len(losses)))
    return Step(total=losses.sum(), count=count, parts={})


def measure_sidecar() -> bool:
    weighted = Segmentation(loss=load("tiny").loss, weigher=Dwsl(f="identity"))
    return _against_plain(
        "a step with DWSL's weights of the sidecar; plain supervised", weighted, target=0.98
    )


def measure_joint() -> bool:
    recipe, model = load("tiny"), fresh()
    with seeded(1):
        head = LightHead(channels=model.map_channels[-1], text_dim=model.text_dim)
    joint = Joint(
        loss=recipe.loss, judge=recipe.discriminate, head=head, weigher=Uniform(), warmup=0.0
    )
    return _against_plain(
        "a step with a light head that learns beside; plain supervised", joint, target=0.952
    )


def make_batches(recipe: TrainRecipe) -> list[Batch]:
    """Batches of noise with squares as masks, a quarter of them gold, p_clean 1."""
    generator = torch.Generator().manual_seed(0)
    size, (h, w) = recipe.data.batch, recipe.data.size_hw
    mask = torch.zeros(size, 1, h, w)
    mask[:, :, h // 4 : h // 2, w // 4 : w // 2] = 1.0
    return [
        made_batch(
            torch.rand(size, 3, h, w, generator=generator),
            tokens=torch.randint(2, 40, (size, 8), generator=generator),
            mask=mask,
            label=mask.roll(step, 3),
            is_gold=torch.arange(size) % 4 == 0,
        )
        for step in range(8)
    ]


def fresh() -> Segmenter:
    """The recipe's model with a vocabulary of 40 words."""
    with seeded(0):
        return Segmenter(
            image=ImageEncoder(width=16), vocabulary=40, max_tokens=24, dim=48, depth=1, heads=4
        )


class Steps:
    """One step of a training at each call; the parameters of the model after it."""

    def __init__(self, objective: Any) -> None:
        self.model = fresh()
        self.training = Training(
            self.model, objective, optim=OPTIM, run=RunConfig(device="cpu"), world=World(), seed=0
        )
        self.training.resume(None)
        self.batches = make_batches(load("tiny"))
        self.done = 0

    def __call__(self) -> list[Tensor]:
        self.training.step(self.done, self.batches[self.done % len(self.batches)])
        self.done += 1
        return [p.detach() for p in self.model.parameters()]


def _against_plain(what: str, objective: Any, *, target: float) -> bool:
    return compare(
        what, ours=Steps(objective), peer=Steps(plain), peer_name="torch", same=_same, target=target,
        units=1, unit="steps", rounds=ROUNDS,
    )  # fmt: skip


def _same(ours: object, theirs: object) -> bool:
    assert isinstance(ours, list)
    assert isinstance(theirs, list)
    return all(
        torch.allclose(a, b, rtol=1e-3, atol=1e-3) for a, b in zip(ours, theirs, strict=True)
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    run(measure_sidecar, measure_joint)
