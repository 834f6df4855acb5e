"""Parts of a batch and its way to the device."""

import pytest
import torch

from tests.trainer.engine.tiny_training import numbers_at
from trainer.engine.batches import moved, parts


def test_parts_take_turns_and_together_are_the_batch():
    batch = numbers_at(3)
    cut = parts(batch, 3)
    assert [len(part.ids) for part in cut] == [4, 4, 4]
    assert cut[1].ids == batch.ids[1::3]
    for part in cut:
        assert [str(row) for row in part.rows.tolist()] == list(part.ids)
    assert torch.equal(torch.cat([p.x for p in cut]).sort(0).values, batch.x.sort(0).values)
    assert parts(batch, 1)[0] is batch
    with pytest.raises(ValueError, match=r"set data\.batch to a multiple"):
        parts(batch, 7)


def test_on_the_cpu_a_batch_stays_as_it_is_unless_its_layout_changes():
    batch = numbers_at(0)
    assert moved(batch, torch.device("cpu")) is batch
    again = moved(batch, torch.device("cpu"), channels_last=True)
    assert torch.equal(again.x, batch.x)
    assert again.ids == batch.ids
