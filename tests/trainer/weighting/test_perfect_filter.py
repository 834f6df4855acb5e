"""The bound of all filters: it keeps just the labels that are good, and only where their truth is known."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.trainer.conftest import make_samples, write_dataset
from trainer.config import TrainRecipe
from trainer.data.shard_store import open_shards
from trainer.data.table import load_table
from trainer.fit import fit
from trainer.run_folder import RUN
from trainer.weighting.dataset import dataset_weights
from trainer.weighting.perfect_filter import PerfectFilter, good_labels


def test_gold_and_good_machine_labels_count_and_no_others(squares: Path):
    table = load_table(squares, size_hw=(16, 24))
    good = good_labels(squares, table)
    assert 0 < int(good.sum()) < len(good)
    assert torch.equal(good, table.label_iou >= 0.5)
    weights = dataset_weights(table, PerfectFilter(is_good=good, gold_weight=2.0))
    expected = torch.where(table.is_gold, 2.0, good.float())
    assert torch.equal(weights, expected)


def test_it_is_the_same_where_the_pixels_stay_in_the_shards(squares: Path):
    memory, shards = load_table(squares, size_hw=(16, 24)), open_shards(squares, size_hw=(16, 24))
    assert torch.equal(good_labels(squares, memory), good_labels(squares, shards))


def test_without_the_truth_of_every_label_it_is_refused(tmp_path: Path):
    samples = make_samples(4, gold_every=2, spoil=0.5, seed=3)
    machine = next(i for i, s in enumerate(samples) if s.gold_role != "train")
    samples[machine] = replace(samples[machine], gold=None)
    root = write_dataset(tmp_path / "d", samples, name="d")
    with pytest.raises(ValueError, match=r"1 machine labels of .* have no audit gold"):
        good_labels(root, load_table(root, size_hw=(16, 24)))


@pytest.mark.slow
def test_a_run_with_it_says_that_it_is_an_oracle(
    squares: Path, recipe: TrainRecipe, tmp_path: Path
):
    weight = recipe.weight.model_copy(update={"method": "perfect_filter"})
    run = fit(squares, recipe.model_copy(update={"weight": weight}), out=tmp_path / "run")
    assert json.loads((run / RUN).read_bytes())["oracle"] is True
