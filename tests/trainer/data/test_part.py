"""A part of a store gives what the store gives, renumbered."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from trainer.data.dataset import Opened
from trainer.data.part import Part
from trainer.data.shard_store import open_shards
from trainer.data.table import load_table, take

ROWS = np.array([40, 3, 4, 17])


@pytest.mark.parametrize("opened", [load_table, open_shards])
def test_a_part_of_a_store_is_what_taking_its_rows_gives(squares: Path, opened):
    whole: Opened = opened(squares, size_hw=(16, 24))
    part, taken = (
        Part(store=whole, rows=ROWS),
        take(load_table(squares, size_hw=(16, 24)), ROWS.tolist()),
    )
    for some in (part, pickle.loads(pickle.dumps(part))):
        assert len(some) == 4
        assert tuple(some.ids) == taken.ids
        assert some.ids[1:3] == list(taken.ids[1:3])
        assert some.shas[2] == taken.shas[2]
        assert tuple(some.instructions) == taken.instructions
        assert some.size_hw == (16, 24)
        for name in ("is_gold", "p_clean", "weight", "shard_of"):
            assert torch.equal(getattr(some, name), getattr(taken, name)), name
        rows = np.array([3, 0])
        its, theirs = some.frames(rows), taken.frames(rows)
        for name in ("image", "target", "label"):
            assert torch.equal(getattr(its, name), getattr(theirs, name)), name
