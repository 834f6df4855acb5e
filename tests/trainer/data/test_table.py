"""From a dataset folder to a table: what is learnt from, and the wall around audit gold."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from annotators.masks import encode_mask
from pipeline.sidecar import WEIGHTS, write_sidecar
from tests.trainer.conftest import make_samples, write_dataset
from trainer.data.table import load_table, resize_mask, take
from trainer.data.weights import with_weights


def test_images_are_decoded_once_and_shared_by_their_instructions(squares: Path):
    table = load_table(squares, size_hw=(16, 24))
    assert len(table) == 48
    assert table.images.shape == (24, 3, 16, 24)
    assert table.image_of.tolist() == [i // 2 for i in range(48)]
    assert table.images.dtype == table.target.dtype == torch.uint8


def test_gold_for_training_is_the_target_and_audit_gold_is_not(squares: Path):
    table = load_table(squares, size_hw=(40, 56))
    assert int(table.is_gold.sum()) == 12
    wrong = table.label_iou < 0.5
    assert int((wrong & ~table.is_gold).sum()) > 5
    assert torch.equal(table.target[~table.is_gold], table.label[~table.is_gold])
    corrected = wrong & table.is_gold
    assert bool(corrected.any())
    assert not torch.equal(table.target[corrected], table.label[corrected])


def test_what_audit_gold_says_changes_nothing_that_is_learnt(tmp_path: Path):
    samples = make_samples(4, gold_every=2, spoil=0.5, seed=5)
    blank = encode_mask(np.zeros(samples[0].size_hw, bool))
    other = [replace(s, gold=blank) if s.gold_role == "audit" else s for s in samples]
    a = load_table(write_dataset(tmp_path / "a", samples, name="a"), size_hw=(16, 24))
    b = load_table(write_dataset(tmp_path / "b", other, name="b"), size_hw=(16, 24))
    assert torch.equal(a.target, b.target)
    assert torch.equal(a.is_gold, b.is_gold)
    assert not torch.equal(a.label_iou, b.label_iou)


def test_an_oracle_learns_from_every_gold_mask(squares: Path):
    table = load_table(squares, size_hw=(16, 24), oracle=True)
    assert bool(table.is_gold.all())


def test_a_mask_pixel_becomes_the_share_of_it_that_is_covered():
    mask = np.zeros((4, 4), np.uint8)
    mask[:, :1] = 255
    assert resize_mask(mask, (2, 2)).tolist() == [[128, 0], [128, 0]]


def test_weights_are_joined_by_id_in_any_order(squares: Path):
    table = load_table(squares, size_hw=(16, 24))
    ids = list(table.ids)[::-1]
    p_clean = np.linspace(0, 1, 48, dtype=np.float32)
    columns = [ids, p_clean, np.ones(48, np.float32), np.zeros(48, np.int16)]
    write_sidecar(squares, "joined", pa.table(columns, schema=WEIGHTS))
    joined = with_weights(table, squares, sidecar="joined")
    assert joined.p_clean[0].item() == 1.0
    assert joined.p_clean[-1].item() == 0.0


def test_a_sidecar_of_another_build_is_refused(squares: Path):
    table = load_table(squares, size_hw=(16, 24))
    columns = [["someone"], np.ones(1, np.float32), np.ones(1, np.float32), np.zeros(1, np.int16)]
    write_sidecar(squares, "stranger", pa.table(columns, schema=WEIGHTS))
    with pytest.raises(ValueError, match="lacks 48 samples"):
        with_weights(table, squares, sidecar="stranger")
    with pytest.raises(ValueError, match="no sidecar 'absent'"):
        with_weights(table, squares, sidecar="absent")


def test_taking_rows_keeps_their_order_and_their_images(squares: Path):
    table = load_table(squares, size_hw=(16, 24))
    some = take(table, [5, 0])
    assert some.ids == (table.ids[5], table.ids[0])
    assert torch.equal(some.images[some.image_of[0]], table.images[2])
