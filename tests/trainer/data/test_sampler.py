"""Batches are a pure function of table, recipe, seed and step."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from trainer.data.batch import Batch
from trainer.data.config import DataConfig
from trainer.data.sampler import Sampler, plain_batches, widest
from trainer.data.table import Table, load_table
from trainer.data.tokens import learn_tokenizer


@pytest.fixture
def table(squares: Path) -> Table:
    return load_table(squares, size_hw=(16, 24))


def sampler(table: Table, *, seed: int = 0, share: float | None = None, size: int = 8) -> Sampler:
    texts = [text for phrasings in table.instructions for text in phrasings]
    config = DataConfig(size_hw=(16, 24), batch=size, gold_share=share)
    drawn = torch.ones(len(table), dtype=torch.bool)
    return Sampler(table=table, tokenizer=learn_tokenizer(texts), config=config, seed=seed, drawn=drawn)  # fmt: skip


def same(a: Batch, b: Batch) -> bool:
    return a.ids == b.ids and torch.equal(a.image, b.image) and torch.equal(a.tokens, b.tokens)


def test_the_same_step_gives_the_same_batch_and_another_seed_another(table: Table):
    assert same(sampler(table).batch_at(3), sampler(table).batch_at(3))
    assert not same(sampler(table).batch_at(3), sampler(table).batch_at(4))
    assert not same(sampler(table).batch_at(3), sampler(table, seed=1).batch_at(3))


def test_an_epoch_shows_every_sample_once(table: Table):
    rows = np.concatenate([sampler(table).rows_at(step) for step in range(6)])
    assert sorted(rows.tolist()) == list(range(48))
    again = np.concatenate([sampler(table).rows_at(step) for step in range(6, 12)])
    assert sorted(again.tolist()) == list(range(48))
    assert rows.tolist() != again.tolist()


@pytest.mark.parametrize(("share", "gold"), [(0.0, 0), (0.5, 4), (1.0, 8)])
def test_a_batch_holds_the_share_of_gold_that_the_recipe_says(
    table: Table, share: float, gold: int
):
    for step in range(5):
        assert int(sampler(table, share=share).batch_at(step).is_gold.sum()) == gold


def test_samples_that_do_not_count_are_never_drawn(table: Table):
    only = replace(sampler(table, share=0.5), drawn=table.is_gold)
    assert all(bool(only.batch_at(step).is_gold.all()) for step in range(5))
    with pytest.raises(ValueError, match="no sample counts"):
        replace(only, drawn=torch.zeros(48, dtype=torch.bool))


def test_at_a_fixed_width_every_batch_is_as_wide_and_nothing_else_changes(table: Table):
    free = sampler(table, size=2)
    width = widest(free.tokenizer, table.instructions)
    fixed = replace(free, width=width)
    shapes = set()
    for step in range(20):
        a, b = free.batch_at(step), fixed.batch_at(step)
        shapes.add(a.tokens.shape[1])
        assert b.tokens.shape == (2, width)
        assert torch.equal(b.tokens[:, : a.tokens.shape[1]], a.tokens)
        assert not b.tokens[:, a.tokens.shape[1] :].any()
        assert torch.equal(a.image, b.image)
    assert shapes == {3, 4}
    assert width == 4


def test_plain_batches_cover_the_table_in_order(table: Table):
    tokenizer = sampler(table).tokenizer
    batches = list(plain_batches(table, tokenizer=tokenizer, size=20))
    assert [len(tokens) for _, _, tokens in batches] == [20, 20, 8]
    assert torch.equal(torch.cat([frames.label for _, frames, _ in batches]), table.label)


@pytest.mark.parametrize(
    ("share", "count"), [(0.02, "0 gold samples and 6"), (0.98, "6 gold samples and 0")]
)
def test_a_share_that_rounds_to_nothing_is_refused(table: Table, share: float, count: str):
    with pytest.raises(ValueError, match=f"{count} of the machine's"):
        sampler(table, share=share, size=6)
