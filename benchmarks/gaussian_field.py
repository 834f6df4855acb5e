"""RF-GAM's field against a loop over its sources, and a training step that hides features against one that does not.

Run: python -m benchmarks.gaussian_field (about three minutes). Targets: the field of 8 to 128 sources at least 50 times
as fast as a loop in torch that adds one source's map after another, for a batch of 24 at the finest level of the recipe
camvid's model (24 x 32 places) and at 64 x 64 (SAM's); a step of the recipe camvid, hiding included, at most 3 % dearer
(a ratio of 0.971). Single steps take turns. Hiding is told to leave everything visible (k = 1), which costs the same as
any other k, so that both sides must hold the same parameters after every step.

Steps are measured with an allocator that keeps its memory. glibc by default hands some back after a step and takes
fresh pages in the next, 560 more of them with hiding; where a page costs microseconds, as on a busy virtual machine,
those alone were another 1 to 2 % of a step.
"""

import ctypes

import torch
from torch import Tensor, nn

from benchmarks.dwsl_step import make_batches
from benchmarks.ratio import compare, run
from trainer.config import load
from trainer.data.batch import Batch
from trainer.data.tokens import Tokenizer
from trainer.engine.config import OptimConfig, RunConfig
from trainer.engine.distributed import World
from trainer.engine.loop import Training
from trainer.masking.gaussian_field import field
from trainer.models.registry import build_model
from trainer.models.saved_model import seeded
from trainer.objectives.protocol import Step
from trainer.objectives.registry import make_objective
from trainer.weighting.dwsl import Dwsl

BATCH = 24
SIZES_HW = ((24, 32), (64, 64))
COUNTS = (8, 32, 128)
SIGMA = 2.0
STEPS = 301


def loop(importance: Tensor, y: Tensor, x: Tensor, *, size_hw: tuple[int, int]) -> Tensor:
    """The field as the formula reads: image by image, source by source, a full map each."""
    rows, columns = torch.arange(size_hw[0])[:, None], torch.arange(size_hw[1])[None]
    total = torch.zeros(len(importance), *size_hw)
    for b in range(len(importance)):
        for j in range(importance.shape[1]):
            square = (columns - x[b, j]) ** 2 + (rows - y[b, j]) ** 2
            total[b] += importance[b, j] * torch.exp(-square / (2 * SIGMA**2))
    return total


def measure_field(size_hw: tuple[int, int], count: int) -> bool:
    generator = torch.Generator().manual_seed(count)
    importance, y, x = torch.rand(3, BATCH, count, generator=generator)
    y, x = y * size_hw[0], x * size_hw[1]
    repeats = 20

    def ours() -> Tensor:
        for _ in range(repeats - 1):
            field(importance, y, x, size_hw=size_hw, sigma=SIGMA)
        return field(importance, y, x, size_hw=size_hw, sigma=SIGMA)

    return compare(
        f"the field of {count} sources at {size_hw[0]} x {size_hw[1]}, batch {BATCH}; a loop over sources",
        ours=ours, peer=lambda: loop(importance, y, x, size_hw=size_hw), peer_name="torch", same=_close, target=50.0,
        units=repeats * BATCH, unit="fields", peer_share=1 / repeats,
    )  # fmt: skip


class Steps:
    """One step of the recipe at each call, with features hidden as `kind` says; the parameters after it."""

    def __init__(self, kind: str) -> None:
        recipe = load("camvid", [f"hide.kind={kind}", "hide.k0=1"])
        words = tuple(f"word{i}" for i in range(38))
        tokens = Tokenizer(words=words, max_tokens=recipe.data.max_tokens)
        with seeded(0):
            self.model = build_model(recipe.model, tokens, size_hw=recipe.data.size_hw)
            objective = make_objective(
                recipe, weigher=Dwsl(f="ratio"), model=self.model, samples=BATCH
            )

        def at_the_start(model: nn.Module, batch: Batch, progress: float) -> Step:
            return objective(model, batch, 0.0)

        optim = OptimConfig(steps=2 * STEPS, warmup=2)
        self.training = Training(
            self.model,
            at_the_start,
            optim=optim,
            run=RunConfig(device="cpu"),
            world=World(),
            seed=0,
        )
        self.training.resume(None)
        self.batches = make_batches(recipe)
        self.done = 0

    def __call__(self) -> list[Tensor]:
        self.training.step(self.done, self.batches[self.done % len(self.batches)])
        self.done += 1
        return [p.detach() for p in self.model.parameters()]


def keep_memory() -> None:
    """Tell glibc not to hand memory back; other allocators are left as they are."""
    if (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        trim_threshold, mmap_threshold = -1, -3
        mallopt(trim_threshold, 1 << 30)
        mallopt(mmap_threshold, 1 << 30)


def measure_step(kind: str) -> bool:
    keep_memory()
    return compare(
        f"a step of camvid with hide.kind={kind}; the same step without",
        ours=Steps(kind), peer=Steps("none"), peer_name="torch", same=_equal, target=0.971,
        units=1, unit="steps", rounds=STEPS,
    )  # fmt: skip


def _close(ours: object, theirs: object) -> bool:
    assert isinstance(ours, Tensor)
    assert isinstance(theirs, Tensor)
    return torch.allclose(ours, theirs, rtol=0.0, atol=1e-5)


def _equal(ours: object, theirs: object) -> bool:
    assert isinstance(ours, list)
    assert isinstance(theirs, list)
    return all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


if __name__ == "__main__":
    torch.set_num_threads(1)
    run(
        *(lambda hw=hw, k=k: measure_field(hw, k) for hw in SIZES_HW for k in COUNTS),
        lambda: measure_step("rf-gam"),
        lambda: measure_step("threshold"),
    )
