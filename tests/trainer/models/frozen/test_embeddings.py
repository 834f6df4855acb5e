"""Embeddings on disk: they change no number, survive damage, and are not mistaken for another encoder's."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainer.models.tiny_frozen import base_recipe, save_sam
from trainer.config import TrainRecipe, load
from trainer.data.sampler import Sampler
from trainer.data.table import Table, load_table
from trainer.fit import fit
from trainer.models.frozen.embeddings import (
    EmbeddingCache,
    fill_cache,
    open_cache,
    read_all,
    through_cache,
)
from trainer.models.registry import build_model, build_tokens

CPU = torch.device("cpu")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MASKMIX_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("encoders")


def table_of(squares: Path, recipe: TrainRecipe) -> Table:
    return load_table(squares, size_hw=recipe.data.size_hw)


def model_of(recipe: TrainRecipe) -> Any:
    tokens = build_tokens(recipe.model, [], data=recipe.data)
    return build_model(recipe.model, tokens, size_hw=recipe.data.size_hw)


def opened(squares: Path, recipe: TrainRecipe) -> EmbeddingCache:
    cache = open_cache(squares, recipe)
    assert cache is not None
    return cache


def test_what_was_written_is_read_and_what_was_not_is_not_there(tmp_path: Path):
    cache = EmbeddingCache(folder=tmp_path)
    first, second = torch.randn(2, 3, 4, 5).half()
    cache.write("ab1", first)
    cache.write("cd2", second)
    found = read_all(cache, ["cd2", "ab1", "cd2"])
    assert found is not None
    assert torch.equal(found, torch.stack([second, first, second]))
    assert read_all(cache, ["ab1", "ef3"]) is None
    files, size = cache.size()
    assert files == 2
    assert size > 2 * 60 * 2


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_file_is_told_about_deleted_and_made_again(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    cache = EmbeddingCache(folder=tmp_path)
    cache.write("ab1", torch.randn(3, 4, 5))
    path = cache.path("ab1")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes({"cut": bytes(data[:-9]), "flipped": bytes(data), "empty": b""}[damage])
    with caplog.at_level(logging.WARNING):
        assert cache.read("ab1") is None
    assert "is damaged" in caplog.text
    assert not cache.has("ab1")


@pytest.mark.slow
def test_a_fill_encodes_every_photograph_once_and_processes_share_the_work(
    squares: Path, encoders: Path, home: Path
):
    recipe = base_recipe(encoders, cache="disk")
    table, model, cache = table_of(squares, recipe), model_of(recipe), opened(squares, recipe)
    assert len(table) == 48
    assert fill_cache(cache, table, model.embed, device=CPU, rank=1, world=2) == 24
    assert fill_cache(cache, table, model.embed, device=CPU, rank=0, world=2) == 0
    cache.path(table.shas[5]).unlink()
    said: list[str] = []
    assert fill_cache(cache, table, model.embed, device=CPU, tell=said.append) == 1
    assert "24 files" in said[-1]
    image = table.images[table.image_of].float() / 255
    found = read_all(cache, table.shas)
    assert found is not None
    assert torch.equal(found, model.embed(image))


@pytest.mark.slow
def test_a_batch_has_its_embeddings_or_encodes_afresh_when_one_is_damaged(
    squares: Path, encoders: Path, home: Path
):
    recipe = base_recipe(encoders, cache="disk")
    table, model = table_of(squares, recipe), model_of(recipe)
    tokens = build_tokens(recipe.model, [], data=recipe.data)
    drawn = torch.ones(len(table), dtype=torch.bool)
    sampler = Sampler(table=table, tokenizer=tokens, config=recipe.data, seed=0, drawn=drawn)
    batch_at = through_cache(
        sampler.batch_at, root=squares, recipe=recipe, store=table, model=model, device=CPU
    )
    batch = batch_at(3)
    assert batch.embedding is not None
    assert torch.equal(batch.embedding, model.embed(batch.image))
    first = table.shas[int(batch.rows[0])]
    opened(squares, recipe).path(first).write_bytes(b"broken")
    again = batch_at(3)
    assert again.embedding is None
    assert torch.equal(again.image, batch.image)
    plain = replace(batch, embedding=None)
    logits = [model(b.image, b.tokens, b.embedding) for b in (batch, again, plain)]
    assert torch.equal(logits[0], logits[1])
    assert torch.equal(logits[0], logits[2])


def test_another_encoder_frame_or_rounding_has_files_of_its_own(
    squares: Path, encoders: Path, home: Path
):
    recipe = base_recipe(encoders, cache="disk")
    first = opened(squares, recipe).folder
    assert opened(squares, recipe).folder == first
    assert opened(squares, base_recipe(encoders, cache="disk", steps=9)).folder == first
    others = [base_recipe(encoders, cache="disk", **{k: v}).model for k, v in
              {"side": 32, "embedding": "float32", "dtype": "bfloat16"}.items()]  # fmt: skip
    wide = recipe.data.model_copy(update={"size_hw": (32, 64)})
    changed = [recipe.model_copy(update={"model": model}) for model in others]
    folders = {
        opened(squares, r).folder for r in [*changed, recipe.model_copy(update={"data": wide})]
    }
    assert len(folders | {first}) == 5
    assert first.with_suffix(".json").exists()


def test_the_same_weights_at_another_path_share_files(
    squares: Path, encoders: Path, home: Path, tmp_path: Path
):
    first = opened(squares, base_recipe(encoders, cache="disk"))
    copy = tmp_path / "sam.pth"
    copy.write_bytes((encoders / "sam.pth").read_bytes())
    moved = base_recipe(encoders, cache="disk", model=str(copy))
    assert opened(squares, moved).folder == first.folder
    save_sam(copy, side=128)
    assert opened(squares, moved).folder != first.folder


def test_augmentation_that_changes_pixels_is_refused_with_a_cache():
    base = "model={kind: base, image: {model: a}, text: {model: b}, cache: disk}"
    with pytest.raises(ValueError, match=r"changes pixels \(hflip=0.5.*set these to 0"):
        load("tiny", [base])
    still = [f"data.augment.{key}=0" for key in ("hflip", "scale", "shift", "colour")]
    assert load("tiny", [base, *still]).data.augment.word_drop > 0


@pytest.mark.slow
def test_a_training_with_a_cache_gives_the_bytes_of_one_without(
    squares: Path, encoders: Path, home: Path, tmp_path: Path
):
    kept = fit(squares, base_recipe(encoders, cache="disk"), out=tmp_path / "kept")
    assert opened(squares, base_recipe(encoders, cache="disk")).size()[0] == 24
    plain = fit(squares, base_recipe(encoders), out=tmp_path / "plain")
    read = [(run / "model.safetensors").read_bytes() for run in (kept, plain)]
    assert read[0] == read[1]
