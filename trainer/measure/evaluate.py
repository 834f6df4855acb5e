"""Score a run on every sample of a dataset that has gold, at the stored size, first phrasing.

`RUN/results/NAME.json` holds the numbers, overall and by style and source, and `NAME.parquet` every predicted mask, so
that a report or another metric needs no model. With a witness the JSON also says what an image-text model makes of the
masks (`evidence`, trainer.measure.evidence), over the samples with a target.
"""

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from annotators.masks import encode_mask
from pipeline.manifest import read_manifest
from pipeline.reader import iterate_samples
from pipeline.shards import write_atomic
from trainer.data.table import decode_image
from trainer.measure.evidence import Evidence, Witness, measure_evidence, summarise_evidence
from trainer.measure.metrics import Record, measure, summarise
from trainer.use.predictor import Predictor

WORST = 12
PREDICTIONS = pa.schema(
    [
        ("sample_id", pa.string()),
        ("iou", pa.float32()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("counts", pa.string()),
    ]
)
"""`counts` is COCO compressed RLE of the predicted mask at the stored size."""


def evaluate(
    run: Path, root: Path, *, name: str | None = None, witness: Witness | None = None
) -> dict[str, Any]:
    """Evaluate the model of a finished run on a dataset folder.

    Args:
        run: folder of a finished `fit`.
        root: a finished dataset folder; samples without gold are left out, audit gold counts as any.
        name: of the results; `dataset_name` when None.
        witness: who is asked for the evidence in the masks; nobody when None.

    Returns:
        What results/NAME.json holds.

    Raises:
        ValueError: the run has no model, the dataset is damaged or has no gold at all, or a witness is to look for
            evidence and no sample has a target.
    """
    predictor = Predictor.from_pretrained(run)
    title = name or dataset_name(root)
    records: list[Record] = []
    rows: list[dict[str, Any]] = []
    evidence: list[dict[str, Evidence]] = []
    seen, image = "", None
    for sample in iterate_samples(root):
        if sample.gold is None:
            continue
        if sample.source.image_sha256 != seen or image is None:
            seen, image = sample.source.image_sha256, decode_image(sample)
        probability = predictor.predict(image, sample.instructions[0])
        mask, gold = probability >= predictor.model.threshold, sample.gold.array()
        record = measure(
            sample.id,
            prediction=mask,
            target=gold,
            style=sample.style,
            source=sample.source.dataset,
        )
        records.append(record)
        height, width = sample.size_hw
        row = {"sample_id": sample.id, "iou": record.iou, "height": height, "width": width}
        rows.append({**row, "counts": encode_mask(mask).counts})
        if witness is not None and gold.any():
            text = sample.instructions[0]
            evidence.append(
                measure_evidence(
                    image, probability, text, mask=mask, gold=gold, scorer=witness.score
                )
            )
    if not records:
        raise ValueError(f"{root} has no gold mask; there is nothing to measure against")
    worst = sorted(records, key=lambda r: (r.iou, r.sample_id))[:WORST]
    summary: dict[str, Any] = {
        "dataset": title,
        "samples": len(records),
        **summarise(records),
        "worst": [{"id": r.sample_id, "iou": r.iou} for r in worst],
    }
    if witness is not None:
        summary["evidence"] = summarise_evidence(evidence, witness=witness)
    folder = run / "results"
    folder.mkdir(exist_ok=True)
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=PREDICTIONS), buffer)
    write_atomic(folder / f"{title}.parquet", buffer.getvalue())
    text = json.dumps(summary, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_atomic(folder / f"{title}.json", text.encode() + b"\n")
    return summary


def dataset_name(root: Path) -> str:
    """What results call a dataset folder: its name and split, e.g. "camvid-validation"."""
    manifest = read_manifest(root)
    return f"{manifest.name}-{manifest.split}"
