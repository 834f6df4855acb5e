"""Reading from shards on demand gives what the table in memory gives, and damage is one clear error."""

import pickle
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from pipeline.codec import decode_json, encode_sample, wordings_of
from pipeline.records import Phrase
from pipeline.sidecar import WEIGHTS, write_sidecar
from tests.trainer.conftest import make_samples, write_dataset
from trainer.data.batch import Batch
from trainer.data.config import DataConfig
from trainer.data.dataset import memory_bytes, open_dataset
from trainer.data.protocol import Store
from trainer.data.sampler import Sampler
from trainer.data.shard_store import KeptImages, ShardStore, open_shards
from trainer.data.table import Table, load_table
from trainer.data.tokens import learn_tokenizer
from trainer.data.weights import with_weights

FRAME = (16, 24)


def write(folder: Path) -> Path:
    samples = make_samples(24, gold_every=4, spoil=0.4, seed=1)
    return write_dataset(folder / "squares", samples, name="squares", per_shard=7)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("data"))


def sampler(store: Store) -> Sampler:
    return Sampler(
        table=store,
        tokenizer=learn_tokenizer(text for texts in store.instructions for text in texts),
        config=DataConfig(size_hw=FRAME, batch=8, gold_share=0.25),
        seed=3,
        drawn=torch.ones(len(store), dtype=torch.bool),
    )


def same(a: Batch, b: Batch) -> bool:
    pairs = [(getattr(a, f.name), getattr(b, f.name)) for f in fields(Batch)]
    return all(torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y for x, y in pairs)


@pytest.mark.parametrize("oracle", [False, True])
def test_facts_and_batches_are_those_of_the_table_bit_for_bit(root, oracle):
    table = load_table(root, size_hw=FRAME, oracle=oracle)
    store = open_shards(root, size_hw=FRAME, oracle=oracle)
    for name in ("ids", "shas", "instructions"):
        assert tuple(getattr(store, name)) == getattr(table, name)
        assert getattr(store, name)[5] == getattr(table, name)[5]
        assert tuple(getattr(store, name)[3:7]) == getattr(table, name)[3:7]
    for name in ("shard_of", "is_gold", "p_clean", "weight"):
        assert torch.equal(getattr(store, name), getattr(table, name))
    assert len(store) == len(table)
    assert store.size_hw == table.size_hw
    for step in range(9):
        assert same(sampler(store).batch_at(step), sampler(table).batch_at(step))


def test_enriched_phrasings_are_read_like_the_instructions():
    sample = make_samples(1, gold_every=1, spoil=0, seed=0)[0]
    told = ("hand me the red one", sample.instructions[0])
    enriched = [Phrase(text=text, role="enriched", made_by="test") for text in told]
    simple = Phrase(text="red square", role="simplified", made_by="test")
    sample = replace(sample, phrases=(enriched[0], simple, enriched[1]))
    members = dict(encode_sample(sample, "png"))
    assert wordings_of(decode_json(sample.id, members["json"])) == sample.wordings
    assert sample.wordings == (*sample.instructions, "hand me the red one")


def test_a_store_that_crossed_to_another_process_gives_the_same(root):
    store = open_shards(root, size_hw=FRAME)
    batch = sampler(store).batch_at(0)
    other = pickle.loads(pickle.dumps(sampler(store)))
    assert same(batch, other.batch_at(0))


def test_weights_are_joined_to_either_store(root):
    ids = load_table(root, size_hw=FRAME).ids
    p_clean = np.linspace(0, 1, 48, dtype=np.float32)
    columns = [ids[::-1], p_clean, np.ones(48, np.float32), np.zeros(48, np.int16)]
    write_sidecar(root, "weights", pa.table(columns, schema=WEIGHTS))
    a, b = (with_weights(f(root, size_hw=FRAME), root) for f in (load_table, open_shards))
    assert torch.equal(a.p_clean, b.p_clean)
    assert b.p_clean[0].item() == 1.0


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_a_flipped_bit_is_found_when_the_dataset_is_opened(tmp_path):
    root = write(tmp_path)
    shard = sorted((root / "shards").iterdir())[3]
    flip(shard, shard.stat().st_size // 2)
    with pytest.raises(ValueError, match=rf"shard .*{shard.name} has sha256 .* the file is damaged"):  # fmt: skip
        open_shards(root, size_hw=FRAME)


@pytest.mark.parametrize("harm", ["cut", "gone", "replaced", "header"])
def test_a_shard_that_breaks_under_a_running_training_is_named(tmp_path, harm):
    root = write(tmp_path)
    store = open_shards(root, size_hw=FRAME)
    shards = sorted((root / "shards").iterdir())
    last = int(store.offsets[13])  # of the second shard
    if harm == "cut":
        shards[1].write_bytes(shards[1].read_bytes()[: last + 600])
    elif harm == "gone":
        shards[1].unlink()
    elif harm == "replaced":
        shards[1].write_bytes(shards[2].read_bytes())
    else:
        flip(shards[1], last + 3)
    assert store.frames(np.array([0, 6, 14])).image.shape == (3, 3, *FRAME)
    with pytest.raises(ValueError, match=rf"{store.ids[13]}.*{shards[1].name}.*start again"):
        store.frames(np.array([13]))


def test_images_are_kept_up_to_a_limit_and_the_oldest_goes_first():
    image = np.zeros((10, 10, 3), np.uint8)
    kept = KeptImages(limit=600)
    kept.keep(1, image)
    kept.keep(2, image + 1)
    assert kept.get(1) is image
    kept.keep(3, image)
    assert kept.get(2) is None
    assert kept.get(1) is image
    kept.keep(4, np.zeros(1000, np.uint8))
    assert [kept.get(n) for n in range(5)] == [None] * 5


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ({}, Table),
        ({"memory_mb": 0}, ShardStore),
        ({"cache": "memory", "memory_mb": 0}, Table),
        ({"cache": "shards"}, ShardStore),
    ],
)
def test_small_datasets_go_into_memory_unless_told_otherwise(root, config, kind):
    data = DataConfig(size_hw=FRAME, **config)
    assert isinstance(open_dataset(root, data), kind)
    assert memory_bytes(root, data) == 48 * 16 * 24 * 5


def test_where_pixels_lie_is_no_part_of_a_recipe():
    assert DataConfig(cache="shards", memory_mb=1).model_dump() == DataConfig().model_dump()
