"""A plain folder of pictures gives what a dataset of the same photographs gives, and loses no file."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from pipeline.intake.image_files import first_of_each
from tests.trainer.conftest import make_samples, write_dataset
from trainer.data.config import DataConfig
from trainer.data.pictures import Pictures, open_pictures
from trainer.data.protocol import Store
from trainer.data.sampler import Sampler
from trainer.data.table import load_table
from trainer.data.tokens import learn_tokenizer

SIZE = (16, 24)


def config(**more: object) -> DataConfig:
    return DataConfig.model_validate({"size_hw": SIZE, "batch": 4, **more})


def picture(path: Path, *, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    cv2.imwrite(str(path), rng.integers(0, 256, (20, 30, 3), dtype=np.uint8))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures in three formats, one of them twice, and two files that are none."""
    root = tmp_path / "photos"
    for i, name in enumerate(["b.jpg", "a.png", "deep/er/c.webp"]):
        picture(root / name, seed=i)
    (root / "deep" / "again.png").write_bytes((root / "a.png").read_bytes())
    (root / "cut.png").write_bytes((root / "a.png").read_bytes()[:300])
    (root / "empty.jpg").write_bytes(b"")
    (root / "notes.md").write_text("no picture")
    return root


@pytest.mark.parametrize("cache", ["memory", "shards"])
def test_pictures_have_the_pixels_that_a_dataset_of_the_same_images_has(cache: str, tmp_path: Path):
    samples = make_samples(3, gold_every=2, spoil=0.0, seed=4)
    table = load_table(write_dataset(tmp_path / "d", samples, name="d"), size_hw=SIZE)
    for sample in samples[::2]:
        (tmp_path / f"{sample.id}.png").write_bytes(sample.image)
    store = open_pictures(tmp_path, config(cache=cache))
    assert (store.pixels is None) == (cache == "shards")
    assert list(store.shas) == list(table.shas)[::2]
    rows = np.array([2, 0, 1])
    assert torch.equal(store.frames(rows).image, table.frames(2 * rows).image)
    assert not store.frames(rows).target.any()
    assert not store.frames(rows).label.any()
    assert not store.is_gold.any()
    assert (store.weight == 1).all()


def test_every_file_is_a_picture_or_a_named_reject(folder: Path):
    store = open_pictures(folder, config())
    assert list(store.ids) == ["a.png", "b.jpg", "deep/again.png", "deep/er/c.webp"]
    rejects = {reject.sample_id: reject.reason for reject in store.rejected}
    assert rejects == {"cut.png": "image-truncated", "empty.jpg": "image-empty"}
    assert [line.split() for line in store.lines()] == [
        ["file", "6"], ["picture", "4"], ["rejected", "image-empty", "1"],
        ["rejected", "image-truncated", "1"],
    ]  # fmt: skip
    assert store.image_of.tolist() == [0, 1, 0, 2]
    assert first_of_each(store.shas) == [0, 1, 0, 3]


@pytest.mark.parametrize("cache", ["memory", "shards"])
def test_a_sampler_draws_batches_from_pictures(cache: str, folder: Path):
    store: Store = open_pictures(folder, config(cache=cache))
    sampler = Sampler(
        table=store,
        tokenizer=learn_tokenizer([""]),
        config=config(),
        seed=0,
        drawn=torch.ones(4, dtype=torch.bool),
    )
    batch = sampler.batch_at(0)
    assert batch.image.shape == (4, 3, *SIZE)
    assert not batch.mask.any()
    assert sorted(batch.rows.tolist()) == [0, 1, 2, 3]


def test_the_digest_hangs_on_names_bytes_and_texts(folder: Path):
    def digest(**more: bool) -> str:
        return open_pictures(folder, config(), **more).digest

    for name in ("a", "b", "deep/again", "deep/er/c"):
        (folder / f"{name}.txt").write_text("a thing")
    found = [digest(), digest(texts=True)]
    (folder / "a.txt").write_text("another thing")
    assert digest() == found[0]
    found.append(digest(texts=True))
    (folder / "b.jpg").rename(folder / "d.jpg")
    found.append(digest())
    picture(folder / "a.png", seed=9)
    found.append(digest())
    assert len(set(found)) == 5


def test_texts_come_from_files_beside_pictures_and_from_tables(tmp_path: Path):
    for i, name in enumerate(["a.png", "b.png", "c.png", "sub/d.png", "sub/e.png", "f.png"]):
        picture(tmp_path / name, seed=i)
    (tmp_path / "a.txt").write_text("\ufeffa red thing\n\n  a thing  that is red \n", "utf-8")
    rows = [
        {"file_name": "a.png", "text": "the red one", "label": 3},
        {"file_name": "b.png", "text": ["blue", "左の青"]},
        {"file_name": "gone.png", "text": "what is not there"},
        {"file_name": "f.png", "text": "  "},
    ]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "sub" / "metadata.csv").write_text('file_name,text\nd.png,"green, not blue"\n')
    store = open_pictures(tmp_path, config(), texts=True)
    assert dict(zip(store.ids, store.instructions, strict=True)) == {
        "a.png": ("a red thing", "a thing  that is red", "the red one"),
        "b.png": ("blue", "左の青"),
        "sub/d.png": ("green, not blue",),
    }
    assert {r.sample_id: r.reason for r in store.rejected} == {
        "c.png": "instruction-missing",
        "sub/e.png": "instruction-missing",
        "gone.png": "image-missing",
        "f.png": "instruction-empty",
    }
    assert set(open_pictures(tmp_path, config()).instructions) == {("",)}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "metadata.jsonl",
            '{"file_name": "a.png"}',
            "expected a file_name and a text in every row",
        ),
        ("metadata.jsonl", '{"file_name": "../a.png", "text": "x"}', "line 1: .*no path inside"),
        ("metadata.jsonl", "{", "not readable"),
        ("metadata.csv", "file,text\na.png,x\n", "file_name"),
    ],
)
def test_a_table_that_cannot_be_meant_is_an_error_and_no_reject(
    name: str, text: str, message: str, tmp_path: Path
):
    picture(tmp_path / "a.png", seed=0)
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        open_pictures(tmp_path, config(), texts=True)


def test_a_folder_without_a_usable_picture_says_why(tmp_path: Path):
    with pytest.raises(ValueError, match="does not exist"):
        open_pictures(tmp_path / "none", config())
    with pytest.raises(ValueError, match="holds no image"):
        open_pictures(tmp_path, config())
    (tmp_path / "a.jpg").write_bytes(b"no jpeg")
    with pytest.raises(ValueError, match=r"none of the 1 files .*a\.jpg: image-format"):
        open_pictures(tmp_path, config())
    picture(tmp_path / "a.jpg", seed=0)
    with pytest.raises(ValueError, match=r"texts stand in NAME\.txt or metadata\.jsonl"):
        open_pictures(tmp_path, config(), texts=True)


def test_a_file_that_changes_after_the_folder_was_opened_is_named(folder: Path):
    store: Pictures = open_pictures(folder, config(cache="shards"))
    picture(folder / "b.jpg", seed=8)
    with pytest.raises(ValueError, match=r"b\.jpg can no longer be read .*restore it"):
        store.frames(np.array([0, 1]))
