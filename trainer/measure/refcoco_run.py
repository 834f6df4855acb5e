"""Run a model over RefCOCO as its papers do: every sentence of every ref, the answer at the photograph's size.

The dataset is one that `maskmix build` made of the refcoco source with `gold: mask`. `RUN/results/NAME.json` holds a
row for each split and what was left out (refs that the build turned away, samples without gold), `NAME.parquet` every
predicted mask. What the rows mean: `trainer.measure.refcoco`.
"""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from annotators.masks import encode_mask
from pipeline.manifest import read_manifest
from pipeline.reader import iterate_samples
from pipeline.records import Sample
from pipeline.shards import write_atomic
from trainer.data.table import decode_image
from trainer.measure.refcoco import Protocol, Sentence, rows, score
from trainer.use.predictor import Predictor

AT_ONCE = 32
"""Sentences about one photograph that are predicted together."""
PREDICTIONS = pa.schema(
    [
        ("sample_id", pa.string()),
        ("sentence", pa.string()),
        ("times", pa.int32()),
        ("split", pa.string()),
        ("intersection", pa.int64()),
        ("union", pa.int64()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("counts", pa.string()),
    ]
)
"""`counts` is COCO compressed RLE of the predicted mask at the photograph's size, before `least_pixels`."""


def evaluate_refcoco(
    run: Path,
    root: Path,
    *,
    protocol: Protocol = "refcoco",
    least_pixels: int = 1,
    name: str | None = None,
) -> dict[str, Any]:
    """Measure the model of a finished run on refs.

    Args:
        run: folder of a finished `fit`.
        root: a finished dataset folder of the refcoco source.
        protocol: see `trainer.measure.refcoco`.
        least_pixels: a predicted mask of fewer counts as empty.
        name: of the results; the dataset's name, split and protocol when None.

    Returns:
        What results/NAME.json holds: `rows`, and how they came about.

    Raises:
        ValueError: the run has no model, or the dataset is damaged, has no gold, is not of the refcoco source, or its
            instructions are no longer the sentences of the refs.
    """
    if least_pixels < 1:
        raise ValueError(f"least_pixels is {least_pixels}; expected 1 or more")
    predictor = Predictor.from_pretrained(run)
    manifest = read_manifest(root)
    title = name or f"{manifest.name}-{manifest.split}-{protocol}"
    sentences: list[Sentence] = []
    kept: list[dict[str, Any]] = []
    without_gold = 0
    seen, image = "", None
    for sample in iterate_samples(root):
        times = sentence_times(sample)
        if sample.gold is None:
            without_gold += 1
            continue
        if sample.source.image_sha256 != seen or image is None:
            seen, image = sample.source.image_sha256, decode_image(sample)
        target = sample.gold.array()
        masks = predict_masks(predictor, image, sample.instructions)
        for text, often, mask in zip(sample.instructions, times, masks, strict=True):
            worth = score(
                dataset=sample.source.dataset,
                split=sample.source.split,
                ref=sample.id,
                image=seen,
                times=often,
                prediction=mask,
                target=target,
                no_target=bool(dict(sample.extra)["no_target"]),
                least_pixels=least_pixels,
            )
            sentences.append(worth)
            kept.append(_kept(sample, text, worth, mask))
    totals = manifest.totals
    summary: dict[str, Any] = {
        "dataset": title,
        "protocol": protocol,
        "unit": "sentence",
        "least_pixels": least_pixels,
        "rows": rows(sentences, protocol),
        "left_out": {
            "rejected": sum(totals.rejected.values()) + totals.quarantined,
            "without_gold": without_gold,
        },
    }
    folder = run / "results"
    folder.mkdir(exist_ok=True)
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(kept, schema=PREDICTIONS), buffer)
    write_atomic(folder / f"{title}.parquet", buffer.getvalue())
    text = json.dumps(summary, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_atomic(folder / f"{title}.json", text.encode() + b"\n")
    return summary


def sentence_times(sample: Sample) -> list[int]:
    """How often each instruction of a sample of the refcoco source stands among the sentences of its ref.

    Raises:
        ValueError: the sample is of another source, of a build from before this was stored, or was rewritten.
    """
    extra = dict(sample.extra)
    if "no_target" not in extra or "sentence_times" not in extra:
        raise ValueError(
            f"sample {sample.id!r} does not say which sentences its ref holds; expected a dataset of the refcoco "
            "source, built with this version: build it again, or evaluate without --protocol"
        )
    times = extra["sentence_times"]
    if len(times) != len(sample.instructions):
        raise ValueError(
            f"sample {sample.id!r} has {len(sample.instructions)} instructions for {len(times)} sentences of its ref; "
            "the published numbers are of the sentences as people wrote them: build without a stage that rewrites"
        )
    return [int(often) for often in times]


def predict_masks(
    predictor: Predictor, image: NDArray[np.uint8], texts: tuple[str, ...]
) -> list[NDArray[np.bool_]]:
    """The mask of each text at the photograph's size, by the model's own threshold."""
    masks: list[NDArray[np.bool_]] = []
    for start in range(0, len(texts), AT_ONCE):
        found = predictor.predict_all(image, texts[start : start + AT_ONCE])
        masks.extend(found >= predictor.model.threshold)
    return masks


def _kept(sample: Sample, text: str, worth: Sentence, mask: NDArray[np.bool_]) -> dict[str, Any]:
    height, width = sample.size_hw
    return {
        "sample_id": sample.id,
        "sentence": text,
        "times": worth.times,
        "split": worth.split,
        "intersection": worth.intersection,
        "union": worth.union,
        "height": height,
        "width": width,
        "counts": encode_mask(mask).counts,
    }
