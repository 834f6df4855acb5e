"""The index: one flat parquet row per sample, so that a dataset can be filtered and counted without opening shards.

Made in one streaming pass over receipts and verified shards, before there is a manifest; the same shards give the
same bytes. `shard` and `offset` lead to a sample's first tar header.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.codec import JSON_SUFFIX, decode_json
from pipeline.manifest import Receipt
from pipeline.shards import atomic_file, read_shard

INDEX = pa.schema(
    [
        ("id", pa.string()),
        ("shard", pa.string()),  # under the dataset folder
        ("offset", pa.int64()),  # bytes, of the sample's first header in the shard
        ("instruction", pa.string()),  # the first phrasing
        ("style", pa.string()),
        ("height", pa.int32()),  # px
        ("width", pa.int32()),  # px
        ("area", pa.int64()),  # px of the label that are >= 128
        ("x1", pa.float64()),  # the label's tight box, XYXY px, half-open; null when the label is empty
        ("y1", pa.float64()),
        ("x2", pa.float64()),
        ("y2", pa.float64()),
        ("score", pa.float64()),  # quality in [0, 1], 1 = clean
        ("kind", pa.string()),  # binary | soft
        ("gold_role", pa.string()),  # train | audit | "" (no human mask)
        ("dataset", pa.string()),
        ("licence", pa.string()),
        ("image_sha256", pa.string()),  # of the image bytes as received
    ]
)  # fmt: skip
ROWS_PER_GROUP = 65_536


def index_path(root: Path, split: str) -> Path:
    """`index/train.parquet` under the dataset folder."""
    return root / "index" / f"{split}.parquet"


def index_row(fields: Mapping[str, Any], *, shard: str, offset: int) -> dict[str, Any]:
    """The index row of one json member."""
    label = fields["label"]
    x1, y1, x2, y2 = label["box"] or (None, None, None, None)
    return {
        "id": fields["id"],
        "shard": shard,
        "offset": offset,
        "instruction": fields["instructions"][0],
        "style": fields["style"],
        "height": fields["height"],
        "width": fields["width"],
        "area": label["area"],
        "x1": x1,
        "y1": y1,
        "x2": x2,
        "y2": y2,
        "score": fields["quality"]["score"],
        "kind": label["kind"],
        "gold_role": fields["gold_role"],
        "dataset": fields["source"]["dataset"],
        "licence": fields["source"]["licence"],
        "image_sha256": fields["source"]["image_sha256"],
    }


def index_table(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Rows as a table of the `INDEX` schema."""
    return pa.Table.from_pylist(list(rows), schema=INDEX)


def write_index(root: Path, split: str, receipts: Iterable[Receipt]) -> Path:
    """Write `index/{split}.parquet` from receipts and the shards they vouch for; needs no manifest.

    Raises:
        ValueError: a shard is not what its receipt says.
    """
    path = index_path(root, split)
    path.parent.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    with atomic_file(path) as file, pq.ParquetWriter(file, INDEX) as writer:
        for receipt in receipts:
            rows.extend(_rows(root, receipt))
            while len(rows) >= ROWS_PER_GROUP:
                writer.write_table(index_table(rows[:ROWS_PER_GROUP]))
                rows = rows[ROWS_PER_GROUP:]
        writer.write_table(index_table(rows))
    return path


def read_index(root: Path, split: str) -> pa.Table:
    """The index of a dataset folder.

    Raises:
        ValueError: there is none, it is damaged, or its columns are not those of `INDEX`.
    """
    path = index_path(root, split)
    if not path.exists():
        raise ValueError(f"{path} does not exist; run `maskmix build` again with the same recipe")
    try:
        table = pq.ParquetFile(path).read()
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{path} is not readable parquet: {error}") from error
    if not table.schema.equals(INDEX):
        raise ValueError(f"{path} has columns {table.schema.names}; expected {INDEX.names}")
    return table


def _rows(root: Path, receipt: Receipt) -> list[dict[str, Any]]:
    if not receipt.shard:
        return []
    samples = read_shard(root / receipt.shard, sha256=receipt.sha256, count=receipt.committed)
    return [
        index_row(
            decode_json(key, members[JSON_SUFFIX]), shard=receipt.shard, offset=receipt.offsets[key]
        )
        for key, members in samples
    ]
