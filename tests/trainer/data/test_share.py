"""Processes make their shares of a batch, and together the batch that one would make."""

from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from torch.nn.functional import pad

from tests.trainer.conftest import make_samples, write_dataset
from trainer.data.batch import Batch
from trainer.data.config import DataConfig
from trainer.data.sampler import Sampler
from trainer.data.share import Share
from trainer.data.table import Table, load_table
from trainer.data.tokens import learn_tokenizer
from trainer.engine.batches import parts


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 samples in shards of seven."""
    samples = make_samples(24, gold_every=4, spoil=0.4, seed=1)
    folder = tmp_path_factory.mktemp("data") / "squares"
    return write_dataset(folder, samples, name="squares", per_shard=7)


@pytest.fixture(scope="module")
def table(root: Path) -> Table:
    return load_table(root, size_hw=(16, 24))


def sampler(table: Table, *, rank: int = 0, world: int = 1, **data) -> Sampler:
    texts = [text for phrasings in table.instructions for text in phrasings]
    return Sampler(
        table=table,
        tokenizer=learn_tokenizer(texts),
        config=DataConfig(size_hw=(16, 24), **{"batch": 8, "lanes": 4, "window": 2, **data}),
        seed=0,
        drawn=torch.ones(len(table), dtype=torch.bool),
        share=Share(rank=rank, world=world),
    )


def same(a: Batch, b: Batch) -> bool:
    """Bit for bit, tokens up to the padding at the end."""
    t = max(a.tokens.shape[1], b.tokens.shape[1])
    a, b = (replace(x, tokens=pad(x.tokens, (0, t - x.tokens.shape[1]))) for x in (a, b))
    pairs = [(getattr(a, f.name), getattr(b, f.name)) for f in fields(Batch)]
    return all(torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y for x, y in pairs)


@pytest.mark.parametrize("gold_share", [None, 0.4])
@pytest.mark.parametrize("world", [2, 4, 8])
def test_shares_make_up_the_batch_of_one_process_bit_for_bit(table, world, gold_share):
    lanes = 8
    alone = sampler(table, lanes=lanes, gold_share=gold_share)
    together = [
        sampler(table, rank=r, world=world, lanes=lanes, gold_share=gold_share)
        for r in range(world)
    ]
    for step in (0, 5, 6, 17):
        cut = parts(alone.batch_at(step), world)
        assert all(same(part, s.batch_at(step)) for part, s in zip(cut, together, strict=True))


def test_a_batch_is_the_same_with_any_number_of_threads(root):
    table = load_table(root, size_hw=(160, 160))  # more than torch adds up in one thread
    alone = sampler(table, rank=3, world=8, lanes=8)
    before = torch.get_num_threads()
    batches = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            batches.append(alone.batch_at(2))
    finally:
        torch.set_num_threads(before)
    assert same(batches[0], batches[1])
    assert same(batches[0], batches[2])


def test_processes_read_shards_of_their_own(table):
    held = [set(), set()]
    for rank in range(2):
        for step in range(6):
            rows = sampler(table, rank=rank, world=2, lanes=2).batch_at(step).rows
            held[rank] |= set(table.shard_of[rows].tolist())
    assert len(held[0]) == len(held[1]) == 4  # seven shards, one of them cut in two
    assert len(held[0] & held[1]) == 1


def test_without_lanes_of_its_own_a_recipe_has_as_many_as_processes(table):
    two = sampler(table, world=2, lanes=None).rows_at(0).tolist()
    assert two == sampler(table, lanes=2).rows_at(0).tolist()
    assert two != sampler(table, lanes=None).rows_at(0).tolist()


def test_a_share_that_cannot_be_is_refused(table):
    with pytest.raises(ValueError, match="rank 2 of a world of 2"):
        Share(rank=2, world=2)
    with pytest.raises(ValueError, match="multiple of 3, such as 9"):
        sampler(table, world=3, lanes=3)
    with pytest.raises(ValueError, match=r"data.lanes is 3.*2 processes"):
        sampler(table, world=2, lanes=3)
