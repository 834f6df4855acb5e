"""Tables beside the shards, parquet, keyed by sample id: what was learnt or judged after the build."""

import io
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.shards import write_atomic

WEIGHTS = pa.schema(
    [
        ("sample_id", pa.string()),
        (
            "p_clean",
            pa.float32(),
        ),  # [0, 1]: the discriminator's belief that the label is as good as a human's
        ("weight", pa.float32()),  # >= 0, mean 1 over machine samples
        (
            "fold",
            pa.int16(),
        ),  # the fold whose discriminator never saw this image; -1: not scored by folds
    ]
)

LABELS = pa.schema(
    [
        ("sample_id", pa.string()),
        (
            "p_label",
            pa.float32(),
        ),  # as p_clean, but of the machine's label also where gold stands beside it
        ("fold", pa.int16()),
    ]
)

GUESSES = pa.schema(
    [
        ("sample_id", pa.string()),
        ("guess", pa.binary()),  # grey PNG: the soft mask of a model that never saw the image
    ]
)


def labels_sidecar(name: str) -> str:
    """The sidecar of `LABELS` that stands beside the weights sidecar `name`."""
    return f"{name}_labels"


def guesses_sidecar(name: str) -> str:
    """The sidecar of `GUESSES` that stands beside the weights sidecar `name`."""
    return f"{name}_guesses"


def sidecar_path(root: Path, name: str) -> Path:
    """`sidecars/{name}.parquet` under the dataset folder.

    Raises:
        ValueError: the name is not one of letters, digits, `_` and `-`.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise ValueError(f"sidecar name {name!r}; expected letters, digits, _ and -")
    return root / "sidecars" / f"{name}.parquet"


def write_sidecar(root: Path, name: str, table: pa.Table) -> Path:
    """Write a table atomically; replaces an older sidecar of that name as a whole.

    Raises:
        ValueError: the table has no `sample_id` column, or that holds an id twice or something else than texts.
    """
    if "sample_id" not in table.column_names:
        raise ValueError(
            f"sidecar {name!r} has columns {table.column_names}; expected sample_id among them"
        )
    column = table.column("sample_id")
    if column.type != pa.string():
        raise ValueError(f"sidecar {name!r} has sample ids of type {column.type}; expected string")
    if column.null_count:
        raise ValueError(f"sidecar {name!r} has {column.null_count} rows without a sample id")
    ids = column.to_pylist()
    if len(set(ids)) != len(ids):
        raise ValueError(f"sidecar {name!r} holds {len(ids) - len(set(ids))} sample ids twice")
    path = sidecar_path(root, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    write_atomic(path, buffer.getvalue())
    return path


def read_sidecar(root: Path, name: str) -> pa.Table:
    """Read a sidecar.

    Raises:
        ValueError: there is none (lists those there are), or it is damaged.
    """
    path = sidecar_path(root, name)
    if not path.exists():
        have = sorted(p.stem for p in path.parent.glob("*.parquet"))
        raise ValueError(
            f"{root} has no sidecar {name!r}; it has {have or 'none'} (weights: run `maskmix discriminate`)"
        )
    try:
        return pq.read_table(path)
    except pa.ArrowException as error:
        raise ValueError(f"{path} is not readable: {error}; write it again") from error
