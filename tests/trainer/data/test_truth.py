"""What gold says of labels is the same number, whether a table knows it or the shards are read for it."""

from pathlib import Path

import numpy as np
import torch

from trainer.data.shard_store import open_shards
from trainer.data.table import load_table, mask_iou
from trainer.data.truth import label_ious


def test_shards_are_read_for_what_a_table_knows(squares: Path):
    table = load_table(squares, size_hw=(16, 24))
    store = open_shards(squares, size_hw=(16, 24))
    known = label_ious(squares, table)
    assert known is table.label_iou
    assert torch.equal(label_ious(squares, store), known)
    assert 0 < int((known < 0.5).sum()) < 48


def test_two_empty_masks_are_the_same():
    nothing = np.zeros((4, 6), bool)
    half = nothing.copy()
    half[:2] = True
    assert mask_iou(nothing, nothing) == 1.0
    assert mask_iou(nothing, ~nothing) == 0.0
    assert mask_iou(half, ~nothing) == 0.5
