"""The same ids, instructions and masks through `datasets`, `webdataset`, Ray Data and our own reader.

The dataset begins with what breaks readers that infer types: a sample with empty lists, no gold and quality 0.0,
then one of soft masks with quality 1.0; only later come gold, proposals and fractions.
"""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.card import write_card
from pipeline.features import hf_features
from pipeline.reader import iterate_samples
from pipeline.records import Sample
from tests.pipeline.datasets_for_tests import bare_sample, full_sample, soft_sample, write_dataset

Facts = tuple[str, list[str], bytes, float]
"""id, instructions, mask pixels, quality."""

FIRST_BARE = [bare_sample(n) for n in range(6)]
SAMPLES = [*FIRST_BARE, soft_sample(6), *(full_sample(n) for n in range(7, 11))]


pytestmark = pytest.mark.slow  # the first import of datasets, webdataset, ray
WDS_LEAVES_FILES_OPEN = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
"""webdataset leaves closing its shards to the garbage collector."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("foreign")
    write_dataset(root, SAMPLES, unit_size=3)
    write_card(root)
    return root


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep `datasets` from looking at, or leaving anything in, the user's cache."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def pixels(mask: NDArray[np.uint8]) -> bytes:
    assert mask.dtype == np.uint8
    assert mask.ndim == 2
    return str(mask.shape).encode() + mask.tobytes()


def facts(samples: Iterable[Sample]) -> list[Facts]:
    return [
        (s.id, list(s.instructions), pixels(s.label.mask), s.quality.score if s.quality else 0.0)
        for s in samples
        if s.label
    ]


def row_facts(rows: Iterable[dict[str, Any]]) -> list[Facts]:
    """Facts of decoded rows, as `datasets` and the others give them."""
    return [
        (
            row["__key__"],
            list(row["json"]["instructions"]),
            pixels(np.asarray(row["mask.png"])),
            row["json"]["quality"]["score"],
        )
        for row in rows
    ]


def test_our_reader_gives_back_what_was_written(dataset: Path):
    assert facts(iterate_samples(dataset)) == facts(SAMPLES)


def test_datasets_loads_the_folder_with_the_declared_features(dataset: Path):
    from datasets import load_dataset

    loaded = load_dataset(str(dataset), split="train")
    assert loaded.features == hf_features("jpg")
    assert row_facts(loaded) == facts(SAMPLES)
    for row, sample in zip(loaded, SAMPLES, strict=True):
        assert (row["jpg"].height, row["jpg"].width) == sample.size_hw
        assert row["json"]["gold"]["counts"] == (sample.gold.counts if sample.gold else "")
        assert [c["score_raw"] for c in row["json"]["candidates"]] == [
            c.made_by.score_raw for c in sample.candidates or ()
        ]


def test_datasets_streams_the_folder_with_the_same_features(dataset: Path):
    from datasets import load_dataset

    stream = load_dataset(str(dataset), split="train", streaming=True)
    assert stream.features == hf_features("jpg")
    assert row_facts(stream) == facts(SAMPLES)


def test_without_the_declared_features_datasets_could_not_read_it(dataset: Path, tmp_path: Path):
    """Why the card spells the features out: types guessed from empty lists do not hold for later samples."""
    from datasets import load_dataset
    from datasets.exceptions import DatasetGenerationError

    bare = shutil.copytree(dataset, tmp_path / "bare")
    (bare / "README.md").unlink()
    with pytest.raises(DatasetGenerationError):
        load_dataset("webdataset", data_files=str(bare / "shards" / "*.tar"), split="train")


def test_datasets_notices_a_cut_shard_because_the_card_counts_samples(
    dataset: Path, tmp_path: Path
):
    from datasets import load_dataset
    from datasets.exceptions import NonMatchingSplitsSizesError

    root = shutil.copytree(dataset, tmp_path / "cut")
    shard = root / "shards" / "train-000001.tar"
    receipt = json.loads((root / "receipts" / "train-000001.json").read_text())
    second = sorted(receipt["offsets"].values())[1]
    shard.write_bytes(shard.read_bytes()[:second])
    with pytest.raises(NonMatchingSplitsSizesError):
        load_dataset(str(root), split="train")


def test_a_png_dataset_of_another_split_loads_too(tmp_path: Path):
    from datasets import load_dataset

    own = [full_sample(n, image_format="png") for n in range(3)]
    write_dataset(tmp_path / "val", own, split="val")
    write_card(tmp_path / "val")
    loaded = load_dataset(str(tmp_path / "val"))
    assert list(loaded) == ["val"]
    assert loaded["val"].features == hf_features("png")
    assert row_facts(loaded["val"]) == facts(own)


@WDS_LEAVES_FILES_OPEN
def test_webdataset_reads_the_shards_with_its_own_decoders(dataset: Path):
    import webdataset as wds

    shards = [str(path) for path in sorted((dataset / "shards").glob("*.tar"))]
    rows = wds.WebDataset(shards, shardshuffle=False, empty_check=False).decode("pil")
    assert row_facts(_grey(rows)) == facts(SAMPLES)


@WDS_LEAVES_FILES_OPEN
def test_webdataset_members_decode_explicitly_without_any_decoder_of_its_own(dataset: Path):
    import webdataset as wds

    from pipeline.codec import decode_sample

    shards = [str(path) for path in sorted((dataset / "shards").glob("*.tar"))]
    rows = wds.WebDataset(shards, shardshuffle=False, empty_check=False)
    samples = [
        decode_sample(row["__key__"], {k: v for k, v in row.items() if not k.startswith("__")})
        for row in rows
    ]
    assert facts(samples) == facts(SAMPLES)


@pytest.mark.ray
@pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\.data\.")  # of its own defaults
def test_ray_data_reads_the_shards_with_its_default_decoder(dataset: Path):
    import ray

    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    try:
        paths = [str(path) for path in sorted((dataset / "shards").glob("*.tar"))]
        rows = ray.data.read_webdataset(paths).take_all()
    finally:
        ray.shutdown()
    rows.sort(key=lambda row: [s.id for s in SAMPLES].index(row["__key__"]))
    assert row_facts(rows) == facts(SAMPLES)


def _grey(rows: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    """Rows of webdataset's `pil` decoder, which makes every PNG RGB: the three channels must agree; keep one."""
    for row in rows:
        mask = np.asarray(row["mask.png"])
        assert mask.ndim == 3
        assert (mask == mask[..., :1]).all()
        yield {**row, "mask.png": mask[..., 0]}
