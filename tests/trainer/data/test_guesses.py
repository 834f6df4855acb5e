"""Guesses of the discriminators as targets: they come back as they were kept, just where they are wanted."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from pipeline.sidecar import GUESSES, read_sidecar, write_sidecar
from trainer.data.guesses import Corrected, encode_guess, with_guesses, write_guesses
from trainer.data.shard_store import open_shards
from trainer.data.table import Table, load_table

FRAME = (16, 24)
N = 48


@pytest.fixture
def table(squares: Path) -> Table:
    return load_table(squares, size_hw=FRAME)


@pytest.fixture
def guesses(squares: Path, table: Table) -> np.ndarray:
    """Chances n h w, kept as the sidecar `mine_guesses` for machine samples."""
    rng = np.random.default_rng(0)
    made = rng.random((N, *FRAME), dtype=np.float32)
    machine = np.flatnonzero(~table.is_gold.numpy())
    kept = {table.ids[row]: encode_guess(made[row]) for row in machine}
    write_guesses(squares, sidecar="mine", guesses=kept)
    return made


def test_a_target_is_the_guess_where_it_is_chosen_and_all_else_stays(
    squares: Path, table: Table, guesses: np.ndarray
):
    assert read_sidecar(squares, "mine_guesses").schema.equals(GUESSES)
    chosen = ~table.is_gold & (torch.arange(N) % 3 == 0)
    stores = (table, open_shards(squares, size_hw=FRAME))
    before = table.target.clone()
    rows = np.array([5, 0, 3, 45, 12, 13])
    for store in stores:
        corrected = with_guesses(store, squares, chosen, sidecar="mine")
        assert len(corrected) == N
        assert corrected.ids[7] == table.ids[7]
        assert torch.equal(corrected.is_gold, table.is_gold)
        frames, plain = corrected.frames(rows), table.frames(rows)
        assert torch.equal(frames.image, plain.image)
        assert torch.equal(frames.label, plain.label)
        for i, row in enumerate(rows.tolist()):
            guess = torch.from_numpy(np.rint(guesses[row] * 255).astype(np.uint8))
            want = guess if chosen[row] else plain.target[i]
            assert torch.equal(frames.target[i], want), row
    assert torch.equal(table.target, before)


def test_a_guess_of_another_frame_is_squashed_to_the_training_frame(squares: Path, table: Table):
    half = np.zeros((32, 48), np.float32)
    half[:, :24] = 1.0
    row = int((~table.is_gold).nonzero()[0])
    write_guesses(squares, sidecar="large", guesses={table.ids[row]: encode_guess(half)})
    chosen = torch.arange(N) == row
    target = with_guesses(table, squares, chosen, sidecar="large").frames(np.array([row])).target
    assert target.shape == (1, *FRAME)
    assert target[0, :, :12].eq(255).all()
    assert target[0, :, 12:].eq(0).all()


def test_what_is_missing_or_damaged_says_what_to_do(
    squares: Path, table: Table, guesses: np.ndarray
):
    none = torch.zeros(N, dtype=torch.bool)
    assert isinstance(with_guesses(table, squares, none, sidecar="mine"), Corrected)
    with pytest.raises(ValueError, match=r"discriminate\.guesses=true"):
        with_guesses(table, squares, none, sidecar="absent")
    with pytest.raises(ValueError, match="lacks 12 samples, first 'squares-000-red'"):
        with_guesses(table, squares, ~none, sidecar="mine")
    row = int((~table.is_gold).nonzero()[0])
    bad = {"sample_id": [table.ids[row]], "guess": [b"no picture"]}
    write_sidecar(squares, "bad_guesses", pa.table(bad, schema=GUESSES))
    damaged = with_guesses(table, squares, torch.arange(N) == row, sidecar="bad")
    with pytest.raises(ValueError, match=f"guess for sample '{table.ids[row]}' is no PNG"):
        damaged.frames(np.array([row]))
