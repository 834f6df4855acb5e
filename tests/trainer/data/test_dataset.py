"""Where pixels come from and who makes the batches leaves no trace in what is trained."""

from pathlib import Path

import pytest

from tests.trainer.conftest import make_samples, write_dataset
from trainer.config import TrainRecipe
from trainer.fit import fit


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    samples = make_samples(24, gold_every=4, spoil=0.4, seed=1)
    folder = tmp_path_factory.mktemp("data") / "squares"
    return write_dataset(folder, samples, name="squares", per_shard=7)


def changed(recipe: TrainRecipe, *, cache: str, workers: int = 0) -> TrainRecipe:
    data = recipe.data.model_copy(update={"cache": cache})
    run = recipe.run.model_copy(update={"loader_workers": workers})
    weight = recipe.weight.model_copy(update={"method": "uniform"})
    return recipe.model_copy(update={"data": data, "run": run, "weight": weight})


@pytest.mark.slow
def test_a_run_from_shards_is_that_from_memory_byte_for_byte(
    root: Path, recipe: TrainRecipe, tmp_path: Path
):
    for cache in ("memory", "shards"):
        fit(root, changed(recipe, cache=cache), out=tmp_path / cache)
    for name in ("model.safetensors", "run.json", "model.json"):
        assert (tmp_path / "memory" / name).read_bytes() == (tmp_path / "shards" / name).read_bytes()  # fmt: skip


@pytest.mark.slow
def test_a_run_stopped_in_mid_epoch_goes_on_with_other_workers_and_another_store(
    root: Path, recipe: TrainRecipe, tmp_path: Path
):
    fit(root, changed(recipe, cache="memory"), out=tmp_path / "whole")
    fit(root, changed(recipe, cache="shards", workers=2), out=tmp_path / "cut", stop_at=3)
    assert not (tmp_path / "cut" / "model.json").exists()
    fit(root, changed(recipe, cache="memory", workers=1), out=tmp_path / "cut")
    ends = [(tmp_path / run / "model.safetensors").read_bytes() for run in ("whole", "cut")]
    assert ends[0] == ends[1]
