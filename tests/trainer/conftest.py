"""A real dataset folder, small enough to learn in a second: coloured squares on noise, one instruction a square."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from annotators.label import Label
from annotators.masks import encode_mask
from pipeline.codec import encode_sample
from pipeline.manifest import Manifest, Receipt, receipt_path, shard_name, total, write_json
from pipeline.records import Sample, SourceRef
from pipeline.shards import ShardWriter
from trainer.config import TrainRecipe

SIZE = (40, 56)
COLOURS = {"red": (220, 40, 40), "blue": (40, 60, 220)}


def make_samples(images: int, *, gold_every: int, spoil: float, seed: int) -> list[Sample]:
    """Two samples an image, ask for the red and for the blue square; `spoil` of the labels name the other one."""
    rng = np.random.default_rng(seed)
    samples = []
    for i in range(images):
        image = rng.integers(90, 150, (*SIZE, 3), dtype=np.uint8)
        masks = {}
        sides = rng.permutation([0, 28])
        for (name, colour), side in zip(COLOURS.items(), sides, strict=True):
            y, x = int(rng.integers(0, 20)), int(side) + int(rng.integers(0, 10))
            masks[name] = np.zeros(SIZE, bool)
            masks[name][y : y + 18, x : x + 17] = True
            image[masks[name]] = colour
        data = cv2.imencode(".png", image[:, :, ::-1])[1].tobytes()
        for name, mask in masks.items():
            other = masks["blue" if name == "red" else "red"]
            label = other if rng.random() < spoil else mask
            samples.append(
                Sample(
                    id=f"squares-{i:03d}-{name}",
                    image=data,
                    size_hw=SIZE,
                    instructions=(f"the {name} square", f"find the {name} one"),
                    style="phrase" if name == "red" else "command",
                    source=SourceRef(
                        dataset="squares",
                        split="train",
                        key=str(i),
                        licence="CC0-1.0",
                        url="",
                        image_sha256=hashlib.sha256(data).hexdigest(),
                    ),
                    gold=encode_mask(mask),
                    gold_role="train" if i % gold_every == 0 else "audit",
                    label=Label(mask=label.astype(np.uint8) * 255, kind="binary", members=(), rule="test"),
                )
            )  # fmt: skip
    return samples


def write_dataset(root: Path, samples: list[Sample], *, name: str, per_shard: int = 1000) -> Path:
    """A finished dataset folder."""
    (root / "shards").mkdir(parents=True)
    (root / "receipts").mkdir()
    receipts = [
        _commit(root, unit, samples[start : start + per_shard])
        for unit, start in enumerate(range(0, len(samples), per_shard))
    ]
    manifest = Manifest(
        name=name, split="train", recipe={}, recipe_hash="tiny", panel=[],
        shards=[r.shard for r in receipts], units=len(receipts), totals=total(receipts), versions={},
    )  # fmt: skip
    write_json(root / "manifest.json", manifest)
    return root


def _commit(root: Path, unit: int, samples: list[Sample]) -> Receipt:
    shard = shard_name("train", unit)
    with ShardWriter(root / shard) as writer:
        for sample in samples:
            writer.write(sample.id, encode_sample(sample, "png"))
    assert writer.stat is not None
    receipt = Receipt(
        unit=unit, shard=shard, sha256=writer.stat.sha256, size=writer.stat.size, recipe_hash="tiny",
        inputs=len(samples), committed=len(samples), rejected={}, quarantined=0,
        gold=sum(s.gold is not None and s.gold_role == "train" for s in samples),
        licences={"CC0-1.0": len(samples)}, faults={}, offsets=dict(writer.stat.offsets), versions={},
    )  # fmt: skip
    write_json(receipt_path(root, "train", unit), receipt)
    return receipt


@pytest.fixture(scope="session")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 images, 48 samples, a quarter of them gold, 40 % of the labels wrong."""
    samples = make_samples(24, gold_every=4, spoil=0.4, seed=1)
    return write_dataset(tmp_path_factory.mktemp("data") / "squares", samples, name="squares")


@pytest.fixture(scope="session")
def squares_test(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight other images of the same kind."""
    samples = make_samples(8, gold_every=100, spoil=0.0, seed=2)
    return write_dataset(tmp_path_factory.mktemp("data") / "test", samples, name="squares-test")


@pytest.fixture
def recipe() -> TrainRecipe:
    """Small and quick; nothing is learnt in its six steps."""
    optim = {"steps": 6, "checkpoint_every": 2, "log_every": 1, "warmup": 2}
    return TrainRecipe.model_validate(
        {
            "name": "test",
            "data": {"size_hw": (16, 24), "batch": 6, "gold_share": 0.5},
            "model": {"width": 8, "dim": 16, "depth": 1, "heads": 2},
            "optim": optim,
            "discriminate": {"folds": 2, "optim": optim},
        }
    )


@pytest.fixture(scope="module")
def ray_here() -> Iterator[None]:
    """A Ray of this machine with four CPUs, or it starves itself."""
    import ray

    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="warning")
    yield
    ray.shutdown()
