"""Batches ahead of time: the same ones in the same order, errors that reach the caller, and nothing left behind."""

import itertools
import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, fields, replace

import pytest
import torch

from tests.trainer.conftest import make_samples, write_dataset
from trainer.data.batch import Batch
from trainer.data.config import DataConfig
from trainer.data.loader import prefetch
from trainer.data.packed import pack
from trainer.data.sampler import Sampler
from trainer.data.shard_store import open_shards
from trainer.data.tokens import learn_tokenizer


@pytest.fixture(scope="module")
def sampler(tmp_path_factory: pytest.TempPathFactory) -> Sampler:
    samples = make_samples(24, gold_every=4, spoil=0.4, seed=1)
    folder = tmp_path_factory.mktemp("data") / "squares"
    store = open_shards(
        write_dataset(folder, samples, name="squares", per_shard=7), size_hw=(16, 24)
    )
    return Sampler(
        table=store,
        tokenizer=learn_tokenizer(text for texts in store.instructions for text in texts),
        config=DataConfig(size_hw=(16, 24), batch=8, gold_share=0.25),
        seed=3,
        drawn=torch.ones(len(store), dtype=torch.bool),
    )


def same(a: Batch, b: Batch) -> bool:
    pairs = [(getattr(a, f.name), getattr(b, f.name)) for f in fields(Batch)]
    return all(torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y for x, y in pairs)


def all_same(ours: Iterator[Batch], steps: range, sampler: Sampler) -> bool:
    pairs = itertools.zip_longest(ours, steps)
    return all(same(batch, sampler.batch_at(step)) for batch, step in pairs)


@dataclass(frozen=True)
class Odd:
    """Batches of `sampler` until step `at`, which goes wrong."""

    sampler: Sampler
    at: int
    error: type[Exception]

    def batch_at(self, step: int) -> Batch:
        if step == self.at:
            raise self.error(f"step {step} is odd; choose another")
        return self.sampler.batch_at(step)


def test_a_batch_packed_into_one_piece_is_the_same_batch(sampler: Sampler):
    batch = replace(sampler.batch_at(0), embedding=torch.rand(8, 3, 1, 0).half())
    packed = pack(batch)
    assert same(packed.unpack(), batch)
    assert packed.unpack().image.untyped_storage().data_ptr() == packed.memory.data_ptr()
    assert packed.unpack().is_gold.dtype == torch.bool


def test_without_workers_batches_are_made_one_by_one(sampler: Sampler):
    batches = prefetch(sampler.batch_at, start=2, stop=5, workers=0)
    assert all_same(batches, range(2, 5), sampler)
    assert list(prefetch(sampler.batch_at, start=5, stop=5, workers=3)) == []
    with pytest.raises(ValueError, match="-1 loader workers"):
        next(prefetch(sampler.batch_at, start=0, stop=5, workers=-1))


@pytest.mark.slow
def test_a_run_goes_on_in_mid_epoch_with_another_number_of_workers(sampler: Sampler):
    with closing(prefetch(sampler.batch_at, start=0, stop=100, workers=2)) as first:
        assert all_same(itertools.islice(first, 8), range(8), sampler)
        assert len(multiprocessing.active_children()) == 2
    assert multiprocessing.active_children() == []  # though 92 batches were not asked for
    assert all_same(prefetch(sampler.batch_at, start=8, stop=20, workers=1), range(8, 20), sampler)
    assert multiprocessing.active_children() == []


@pytest.mark.slow
@pytest.mark.parametrize("error", [ValueError, KeyError])
def test_an_error_in_a_worker_reaches_the_caller(sampler: Sampler, error: type[Exception]):
    odd = Odd(sampler=sampler, at=3, error=error)
    batches = prefetch(odd.batch_at, start=0, stop=9, workers=1)
    assert [same(next(batches), sampler.batch_at(step)) for step in range(3)] == [True] * 3
    with pytest.raises(error, match="step 3 is odd; choose another") as caught:
        next(batches)
    if error is ValueError:  # a line for the user; everything else brings its trace
        assert str(caught.value) == "step 3 is odd; choose another"
    assert multiprocessing.active_children() == []


@pytest.mark.slow
def test_a_worker_that_is_killed_is_one_clear_error(sampler: Sampler):
    before = signal.getsignal(signal.SIGCHLD)
    batches = prefetch(sampler.batch_at, start=0, stop=1000, workers=2)
    next(batches), next(batches)  # each worker has begun
    worker = multiprocessing.active_children()[0]
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGTERM)  # as a scheduler sends it to the whole group
    worker.join(0.5)
    assert worker.is_alive()
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match=r"a loader worker died .*lower run.loader_workers"):
        for _ in batches:
            pass
    assert multiprocessing.active_children() == []
    assert signal.getsignal(signal.SIGCHLD) == before
