"""Finished samples for benchmarks: 640x480 JPEG photographs of noise and shapes, about 60 kB each, the same every time.

Real photographs would measure the same; these need no download and no licence.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from annotators.masks import encode_mask
from pipeline.codec import encode_sample
from pipeline.manifest import (
    MANIFEST,
    Manifest,
    Receipt,
    read_receipts,
    receipt_path,
    shard_name,
    total,
    write_json,
)
from pipeline.records import (
    Candidate,
    Label,
    Phrase,
    Proposal,
    Provenance,
    Quality,
    Sample,
    SourceRef,
)
from pipeline.shards import ShardWriter

SIZE_HW = (480, 640)
DISTINCT = 48
"""Pictures really drawn; samples beyond share their bytes under another id."""
Encoded = tuple[str, list[tuple[str, bytes]]]
"""Key, and (suffix, bytes) of each member."""


def make_samples(count: int) -> list[Sample]:
    """`count` samples with every field filled, as a panel of three experts would leave them."""
    distinct = [_sample(number) for number in range(min(count, DISTINCT))]
    return [replace(distinct[n % DISTINCT], id=f"made-{n:06d}") for n in range(count)]


def encode_all(samples: Sequence[Sample]) -> list[Encoded]:
    """The wire form of all samples."""
    return [(sample.id, encode_sample(sample, "jpg")) for sample in samples]


def write_shards(root: Path, encoded: Sequence[Encoded], per_shard: int) -> list[Receipt]:
    """Shards with hash, fsync and receipt each, as a build commits them."""
    receipts: list[Receipt] = []
    for unit, start in enumerate(range(0, len(encoded), per_shard)):
        batch = encoded[start : start + per_shard]
        shard = shard_name("train", unit)
        with ShardWriter(root / shard) as writer:
            for key, members in batch:
                writer.write(key, members)
        assert writer.stat is not None
        receipt = Receipt(
            unit=unit,
            shard=shard,
            sha256=writer.stat.sha256,
            size=writer.stat.size,
            recipe_hash="0" * 64,
            inputs=len(batch),
            committed=len(batch),
            rejected={},
            quarantined=0,
            gold=0,
            licences={"cc0": len(batch)},
            faults={},
            offsets=dict(writer.stat.offsets),
            versions={},
        )
        receipt.check()
        write_json(receipt_path(root, "train", unit), receipt)
        receipts.append(receipt)
    return receipts


def write_dataset(root: Path, encoded: Sequence[Encoded], per_shard: int) -> None:
    """A finished dataset folder that `pipeline.reader` takes."""
    make_folders(root)
    write_shards(root, encoded, per_shard)
    receipts = list(read_receipts(root))
    manifest = Manifest(
        name="made",
        split="train",
        recipe={},
        recipe_hash="0" * 64,
        panel=[],
        shards=[receipt.shard for receipt in receipts],
        units=len(receipts),
        totals=total(receipts),
        versions={},
    )
    write_json(root / MANIFEST, manifest)


def make_folders(root: Path) -> None:
    """The folders that shards and receipts are written to."""
    for folder in ("shards", "receipts"):
        (root / folder).mkdir(parents=True, exist_ok=True)


def picture(seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A BGR (h, w, 3) picture and the {0, 255} mask of its brightest shape."""
    rng = np.random.default_rng(seed)
    height, width = SIZE_HW
    image = np.full((height, width, 3), 96.0)
    for cells, strength in ((6, 60.0), (40, 25.0), (160, 9.0)):
        noise = rng.standard_normal((cells * height // width, cells, 3)) * strength
        image += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    mask = np.zeros(SIZE_HW, np.uint8)
    for number in range(5):
        x, y = int(rng.integers(80, width - 80)), int(rng.integers(80, height - 80))
        axes = (int(rng.integers(30, 110)), int(rng.integers(30, 110)))
        shape = np.zeros(SIZE_HW, np.uint8)
        cv2.ellipse(shape, (x, y), axes, float(rng.integers(0, 180)), 0, 360, 255, -1)
        image[shape > 0] = 0.4 * image[shape > 0] + rng.uniform(20, 150, 3)
        mask = shape if number == 4 else mask
    return np.clip(image, 0, 255).astype(np.uint8), mask


def _sample(number: int) -> Sample:
    image, mask = picture(number)
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
    label = Label(mask=mask, kind="binary", members=(0, 1, 2), rule="staple")
    assert label.box is not None
    experts = [Provenance(expert=name, model="made", score_raw=2.5) for name in ("a", "b", "c")]
    shifted = [encode_mask(np.roll(mask, 3 * n, axis=1)) for n in range(3)]
    return Sample(
        id=f"made-{number:06d}",
        image=data,
        size_hw=SIZE_HW,
        instructions=(f"take shape number {number}", f"shape {number}"),
        source=SourceRef(
            dataset="made",
            split="train",
            key=str(number),
            licence="cc0",
            url="",
            image_sha256=hashlib.sha256(data).hexdigest(),
        ),
        phrases=(Phrase(text=f"shape {number}", role="simplified", made_by="rules"),),
        proposals=tuple(Proposal(box=label.box, phrase=0, score=0.5, made_by=e) for e in experts),
        candidates=tuple(
            Candidate(mask=m, phrase=0, proposal=n, mask_score=0.75, stability=0.5, made_by=e)
            for n, (m, e) in enumerate(zip(shifted, experts, strict=True))
        ),
        label=label,
        quality=Quality(score=0.75, parts=(("agreement", 0.75),), rule="agreement"),
    )
