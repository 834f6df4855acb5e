"""Does training at the speed of the smallest model wait for data? Real loading against one ready batch, turn about.

Run: python -m benchmarks.loader (about three minutes; two free cores). 1024 photographs of 640x480 are decoded in every
epoch: nothing is kept. Both sides train the `tiny` recipe's model on one thread; one gets its batches from the loader
(pixels from shards or from memory, one worker or none), the other the same batch again and again. Target: with a
worker, less than 5 % of the time goes by waiting for a batch. Without one, making batches is shown as the wait it is.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.made_samples import encode_all, make_samples, write_dataset
from benchmarks.ratio import run, say
from trainer.config import TrainRecipe, load
from trainer.data.batch import Batch
from trainer.data.loader import prefetch
from trainer.data.sampler import Sampler
from trainer.data.shard_store import KeptImages, ShardStore, open_shards
from trainer.data.table import Table, load_table
from trainer.models.registry import build_model, build_tokens
from trainer.models.saved_model import seeded
from trainer.objectives.segmentation import Segmentation
from trainer.weighting.uniform import Uniform

SAMPLES, PER_SHARD = 1024, 128
ROUNDS, STEPS = 7, 24
SETTLE = 4
"""Batches taken before a round is timed: those that were made while the other side trained."""
TARGET = 0.05
Step = Callable[[Batch], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """One round: steps per second, and the share of its time that went by waiting for batches."""

    rate: float
    waited: float


def measure() -> bool:
    """All ways of loading; True when those with a worker keep the target."""
    torch.set_num_threads(1)
    recipe = load("tiny")
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        write_dataset(root, encode_all(make_samples(SAMPLES)), PER_SHARD)
        table = load_table(root, size_hw=recipe.data.size_hw)
        start = time.process_time()
        shards = open_shards(root, size_hw=recipe.data.size_hw)
        opened = (time.process_time() - start) / SAMPLES
        say(f"opening shards, all checked: {1e6 * opened:.0f} us of CPU a sample")
        ways = [("shards", shards, 1), ("memory", table, 1), ("memory", table, 0)]
        waits = [_measure(recipe, where, store, workers) for where, store, workers in ways]
    return all(wait < TARGET for wait, (_, _, workers) in zip(waits, ways, strict=True) if workers)


def _measure(recipe: TrainRecipe, where: str, store: Table | ShardStore, workers: int) -> float:
    """Print one way of loading; the median share of time that it is waited for."""
    if isinstance(store, ShardStore):
        object.__setattr__(store, "kept", KeptImages(limit=0))
    texts = (text for phrasings in store.instructions for text in phrasings)
    tokenizer = build_tokens(recipe.model, texts, data=recipe.data)
    sampler = Sampler(
        table=store,
        tokenizer=tokenizer,
        config=recipe.data,
        seed=0,
        drawn=torch.ones(len(store), dtype=torch.bool),
    )
    with seeded(0):
        model = build_model(recipe.model, tokenizer, size_hw=recipe.data.size_hw)
    step = _stepper(model, recipe)
    ready = sampler.batch_at(0)
    again, real = [], []
    load_before = os.getloadavg()[0]
    total = (ROUNDS + 1) * (STEPS + SETTLE)
    with closing(prefetch(sampler.batch_at, start=0, stop=total, workers=workers)) as batches:
        for number in range(-1, ROUNDS):
            for side in ("again", "real") if number % 2 else ("real", "again"):
                if side == "real":
                    for _ in range(SETTLE):
                        next(batches)
                timed = _timed(batches if side == "real" else _repeated(ready), step)
                if number >= 0:
                    (real if side == "real" else again).append(timed)
    ratios = [r.rate / a.rate for r, a in zip(real, again, strict=True)]
    waits = [r.waited for r in real]
    wait = statistics.median(waits)
    say(f"train tiny, {recipe.data.batch} samples a step, pixels from {where}, {workers} workers")
    say(
        f"  steps/s: loaded {statistics.median(r.rate for r in real):.2f}, "
        f"one ready batch {statistics.median(a.rate for a in again):.2f}"
    )
    spread = f"{min(ratios):.3f} {statistics.median(ratios):.3f} {max(ratios):.3f}"
    say(f"  ratio       {spread}   (min, median, max of {ROUNDS})")
    say(f"  waited for  {min(waits):.1%} {wait:.1%} {max(waits):.1%} of the time")
    say(f"  load average {load_before:.1f} -> {os.getloadavg()[0]:.1f}")
    if workers:
        say(f"  target < {TARGET:.0%}: {'reached' if wait < TARGET else 'MISSED'}")
    return wait


def _stepper(model: torch.nn.Module, recipe: TrainRecipe) -> Step:
    """One training step: loss, gradient, clipping, AdamW."""
    objective = Segmentation(loss=recipe.loss, weigher=Uniform())
    optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.optim.lr)

    def step(batch: Batch) -> None:
        result = objective(model, batch, 0.0)
        optimiser.zero_grad()
        (result.total / result.count).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.optim.clip_norm)
        optimiser.step()

    return step


def _repeated(batch: Batch) -> Iterator[Batch]:
    while True:
        yield batch


def _timed(batches: Iterator[Batch], step: Step) -> Timed:
    waited, start = 0.0, time.perf_counter()
    for _ in range(STEPS):
        asked = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - asked
        step(batch)
    spent = time.perf_counter() - start
    return Timed(rate=STEPS / spent, waited=waited / spent)


if __name__ == "__main__":
    run(measure)
