"""Tiny samples, and whole dataset folders made from them with the project's own writer, for tests.

`samples(n)` gives varied little samples (with and without gold, empty labels, empty lists); `write_dataset` lays
them out as a finished build would: shards, rejects, receipts, index and manifest.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from annotators.masks import encode_mask
from pipeline.codec import ImageFormat, encode_sample, sniff
from pipeline.config import Recipe, recipe_hash
from pipeline.index import write_index
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
    Reject,
    Sample,
    SourceRef,
)
from pipeline.shards import ShardWriter, write_atomic

VERSIONS = {"maskmix": "0.1.0"}


def picture(seed: int, size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """A smooth RGB (h, w, 3) picture, another one for every seed."""
    h, w = size_hw
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (w, h), interpolation=cv2.INTER_CUBIC), np.uint8)


def encode_image(image: NDArray[np.uint8], image_format: ImageFormat) -> bytes:
    """RGB (h, w, 3) as JPEG or PNG bytes."""
    done, data = cv2.imencode(f".{image_format}", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    assert done
    return data.tobytes()


def blob(seed: int, size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """A filled rectangle, uint8 (h, w) of {0, 255}, never empty and never whole."""
    h, w = size_hw
    rng = np.random.default_rng(seed)
    y, x = int(rng.integers(0, h // 2)), int(rng.integers(0, w // 2))
    mask = np.zeros(size_hw, np.uint8)
    mask[y : y + h // 3, x : x + w // 3] = 255
    return mask


def full_sample(
    number: int = 0, *, image_format: ImageFormat = "jpg", size_hw: tuple[int, int] = (24, 32)
) -> Sample:
    """A sample with every field of the line filled, gold and extra included."""
    image = encode_image(picture(number, size_hw), image_format)
    mask = blob(number, size_hw)
    label = Label(mask=mask, kind="binary", members=(0,), rule="best")
    assert label.box is not None
    by = Provenance(expert="lite", model="grabcut", score_raw=3.5, config_hash="c0ffee")
    return Sample(
        id=f"full-{number:04d}",
        image=image,
        size_hw=size_hw,
        instructions=(f"grab the red thing number {number}", f"the red thing {number}"),
        source=_source(f"full-{number}", image),
        style="command",
        gold=encode_mask(blob(number + 1, size_hw)),
        gold_role="train" if number % 2 == 0 else "audit",
        phrases=(Phrase(text="the red thing", role="simplified", made_by="rules"),),
        proposals=(Proposal(box=label.box, phrase=0, score=0.75, made_by=by),),
        candidates=(
            Candidate(
                mask=encode_mask(mask), phrase=0, proposal=0, mask_score=0.5, stability=1.0, made_by=by
            ),
        ),
        label=label,
        quality=Quality(score=0.625, parts=(("agreement", 0.625),), rule="agreement"),
        faults=("owl: out of memory",),
        extra=(("scene", 7), ("note", "über")),
    )  # fmt: skip


def bare_sample(
    number: int = 0, *, image_format: ImageFormat = "jpg", size_hw: tuple[int, int] = (20, 28)
) -> Sample:
    """A sample with an empty label and nothing else: no gold, no phrases, no quality, empty lists everywhere."""
    image = encode_image(picture(1000 + number, size_hw), image_format)
    return Sample(
        id=f"bare-{number:04d}",
        image=image,
        size_hw=size_hw,
        instructions=("find nothing at all",),
        source=_source(f"bare-{number}", image),
        label=Label(mask=np.zeros(size_hw, np.uint8), kind="binary", members=(), rule="best"),
    )


def soft_sample(
    number: int = 0, *, image_format: ImageFormat = "jpg", size_hw: tuple[int, int] = (24, 32)
) -> Sample:
    """A sample without gold whose label is soft: a ramp of agreement, quality of exactly 1."""
    image = encode_image(picture(2000 + number, size_hw), image_format)
    ramp = np.broadcast_to(np.linspace(0, 255, size_hw[1]), size_hw).astype(np.uint8)
    return Sample(
        id=f"soft-{number:04d}",
        image=image,
        size_hw=size_hw,
        instructions=(f"alles auf der rechten Seite, Nr. {number}",),
        source=_source(f"soft-{number}", image),
        style="place",
        phrases=(Phrase(text="the right side", role="simplified", made_by="rules"),),
        label=Label(mask=ramp, kind="soft", members=(), rule="soft"),
        quality=Quality(score=1.0, parts=(("agreement", 1.0),), rule="agreement"),
    )


def samples(count: int, *, image_format: ImageFormat = "jpg") -> list[Sample]:
    """`count` samples by turns full, bare and soft."""
    makers = (full_sample, bare_sample, soft_sample)
    return [makers[n % 3](n, image_format=image_format) for n in range(count)]


def write_dataset(
    root: Path,
    samples: Sequence[Sample],
    split: str = "train",
    unit_size: int = 2,
    *,
    rejects: Sequence[Reject] = (),
    quarantined: int = 0,
) -> Manifest:
    """A finished dataset folder: `unit_size` samples a shard; rejects and quarantined inputs go to one last unit.

    The split is the recipe's; the image format is that of the first sample. Units whose inputs were all rejected
    have a receipt and no shard, as in a build.
    """
    for folder in ("shards", "receipts", "rejects", "index", "sidecars"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    formats: tuple[ImageFormat, ...] = ("jpg", "png")
    image_format = formats[formats.index(sniff(samples[0].image))] if samples else "jpg"  # type: ignore[arg-type]
    recipe = Recipe(
        name="tiny",
        split=split,
        limit=None,
        unit_size=unit_size,
        image_format=image_format,
        source={"kind": "jsonl", "path": "samples.jsonl"},
    )
    units = [samples[n : n + unit_size] for n in range(0, len(samples), unit_size)]
    common: dict[str, Any] = {"recipe_hash": recipe_hash(recipe), "versions": VERSIONS}
    for unit, batch in enumerate(units):
        name = shard_name(split, unit)
        with ShardWriter(root / name) as writer:
            for sample in batch:
                writer.write(sample.id, encode_sample(sample, image_format))
        assert writer.stat is not None
        receipt = Receipt(
            unit=unit,
            shard=name,
            sha256=writer.stat.sha256,
            size=writer.stat.size,
            inputs=len(batch),
            committed=len(batch),
            rejected={},
            quarantined=0,
            gold=sum(s.gold is not None and s.gold_role == "train" for s in batch),
            licences=dict(sorted(Counter(s.source.licence for s in batch).items())),
            faults=dict(
                sorted(Counter(f.partition(":")[0] for s in batch for f in s.faults).items())
            ),
            offsets=dict(writer.stat.offsets),
            **common,
        )
        write_json(receipt_path(root, split, unit), receipt)
    last = len(units)
    if rejects or quarantined:
        outcomes = [*rejects]
        outcomes += [
            Reject(sample_id=f"input-{n}", stage="quarantine", reason="error", detail="")
            for n in range(quarantined)
        ]  # fmt: skip
        lines = [
            json.dumps(
                {"sample_id": r.sample_id, "stage": r.stage, "reason": r.reason, "detail": r.detail}
            )
            for r in outcomes
        ]
        write_atomic(
            root / "rejects" / f"{split}-{last:06d}.jsonl", "\n".join([*lines, ""]).encode()
        )
        counts = Counter(f"{r.stage}/{r.reason}" for r in rejects)
        receipt = Receipt(
            unit=last,
            shard="",
            sha256="",
            size=0,
            inputs=len(outcomes),
            committed=0,
            rejected=dict(sorted(counts.items())),
            quarantined=quarantined,
            gold=0,
            licences={},
            faults={},
            offsets={},
            **common,
        )
        write_json(receipt_path(root, split, last), receipt)
    receipts = list(read_receipts(root))
    write_index(root, split, receipts)
    manifest = Manifest(
        name=recipe.name,
        split=split,
        recipe=recipe.model_dump(mode="json"),
        recipe_hash=recipe_hash(recipe),
        panel=[],
        shards=[r.shard for r in receipts if r.shard],
        units=len(receipts),
        totals=total(receipts),
        versions=VERSIONS,
    )
    write_json(root / MANIFEST, manifest)
    return manifest


def _source(key: str, image: bytes) -> SourceRef:
    return SourceRef(
        dataset="little",
        split="train",
        key=key,
        licence="cc-by-4.0",
        url=f"https://example.org/{key}",
        image_sha256=hashlib.sha256(image).hexdigest(),
    )
