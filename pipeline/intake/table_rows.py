"""Rows of tables larger than memory, by number: parquet files, and datasets of the `datasets` library.

Only the wanted columns are read. A parquet row group has no index by row, so it is walked in small batches from a
cursor: rows in order cost one pass, a row further back starts its group again. At most one batch of rows is held,
and of the file the pages that its writer made.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.intake.refusal import Refused

BATCH = 16


class Rows(Protocol):
    """A table. `names` are all its columns; `folder` is where relative paths in its cells start."""

    names: list[str]
    folder: Path

    def __len__(self) -> int: ...

    def row(self, index: int, columns: Sequence[str]) -> dict[str, Any]:
        """Those columns of the row at `index`, as plain Python values; images are not decoded.

        Raises:
            Refused: row-unreadable.
        """
        ...

    def column(self, name: str) -> list[Any]:
        """One whole column, for ids."""
        ...


class ParquetRows:
    """The rows of parquet files with the same columns, one file after another."""

    def __init__(self, files: Sequence[Path], folder: Path) -> None:
        """Read what the files say of themselves.

        Raises:
            ValueError: there is no file, one is no parquet, or their columns differ.
        """
        self.folder = folder
        self._files = list(files)
        self._groups: list[tuple[int, int]] = []  # file, row group
        counts: list[int] = []
        self.names: list[str] = []
        for number, path in enumerate(self._files):
            try:
                said = pq.read_metadata(path)
            except (pa.ArrowException, OSError) as error:
                raise ValueError(f"{path} is no readable parquet file: {error}") from error
            names = said.schema.to_arrow_schema().names
            if number and set(names) != set(self.names):
                raise ValueError(
                    f"{path} has columns {', '.join(names)}; {self._files[0].name} has {', '.join(self.names)}"
                )
            self.names = self.names or names
            for group in range(said.num_row_groups):
                self._groups.append((number, group))
                counts.append(said.row_group(group).num_rows)
        self._starts = [0, *accumulate(counts)]
        self._cursor: _Cursor | None = None

    def __len__(self) -> int:
        return self._starts[-1]

    def row(self, index: int, columns: Sequence[str]) -> dict[str, Any]:
        """See `Rows`."""
        place = bisect_right(self._starts, index) - 1
        file, group = self._groups[place]
        within = index - self._starts[place]
        key = (file, group, tuple(columns))
        try:
            if self._cursor is None or self._cursor.key != key or within < self._cursor.start:
                self._cursor = _Cursor(self._files[file], key)
            return self._cursor.row(within)
        except (pa.ArrowException, OSError) as error:
            self._cursor = None
            raise Refused("row-unreadable", f"{self._files[file].name}: {error}") from error

    def column(self, name: str) -> list[Any]:
        """See `Rows`."""
        return [v for f in self._files for v in pq.read_table(f, columns=[name])[name].to_pylist()]


class _Cursor:
    """A walk through one row group; `start` is the number of the first row it can still give."""

    def __init__(self, path: Path, key: tuple[int, int, tuple[str, ...]]) -> None:
        _, group, columns = key
        self.key = key
        self.start = 0
        file = pq.ParquetFile(path, memory_map=True)
        self._batches: Iterator[Any] = file.iter_batches(
            BATCH, row_groups=[group], columns=list(columns), use_threads=False
        )
        self._batch: Any = next(self._batches)

    def row(self, within: int) -> dict[str, Any]:
        while within >= self.start + self._batch.num_rows:
            self.start += self._batch.num_rows
            self._batch = next(self._batches)
        return self._batch.slice(within - self.start, 1).to_pylist()[0]


class DatasetRows:
    """The rows of a dataset of the `datasets` library, which maps its files into memory."""

    def __init__(self, dataset: Any, folder: Path) -> None:
        self.folder = folder
        self.names: list[str] = list(dataset.column_names)
        self._rows = dataset.with_format("arrow")  # cells as stored: nothing is decoded

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, index: int, columns: Sequence[str]) -> dict[str, Any]:
        """See `Rows`."""
        try:
            return self._rows[index].select(list(columns)).to_pylist()[0]
        except (pa.ArrowException, OSError) as error:
            raise Refused("row-unreadable", str(error)) from error

    def column(self, name: str) -> list[Any]:
        """See `Rows`."""
        return self._rows.select_columns([name])[:][name].to_pylist()


def open_local(path: Path, *, files: str, split: str) -> Rows:
    """A parquet file, a folder whose parquet files match the pattern `files`, or a folder of `save_to_disk`.

    Raises:
        ValueError: none of these is there, or a saved dataset has no such split.
    """
    if path.is_file():
        return ParquetRows([path], path.parent)
    if not path.is_dir():
        raise ValueError(f"{path} does not exist; expected a parquet file or a folder of them")
    if (path / "state.json").is_file() or (path / "dataset_dict.json").is_file():
        import datasets

        saved: Any = datasets.load_from_disk(path)
        if isinstance(saved, datasets.DatasetDict):
            if split not in saved:
                raise ValueError(f"{path} has splits {', '.join(map(str, saved))}; got {split!r}")
            saved = saved[split]
        return DatasetRows(saved, path)
    found = sorted(file for file in path.glob(files) if file.is_file())
    if not found:
        raise ValueError(f"{path} holds no file {files}; set source.files, e.g. 'data/train-*'")
    return ParquetRows(found, path)


def open_hub(name: str, *, subset: str, revision: str, split: str) -> Rows:
    """A dataset of the Hugging Face Hub, downloaded once to the library's cache; code in it is never run.

    Raises:
        ValueError: it is not there, has no such subset or split, or cannot be read without running its code.
    """
    from datasets import config, exceptions, load_dataset

    try:
        loaded: Any = load_dataset(
            name, subset or None, split=split, revision=revision, streaming=False
        )
    except (OSError, ValueError, RuntimeError, exceptions.DatasetsError) as error:
        raise ValueError(f"dataset {name!r} at {revision!r} cannot be loaded: {error}") from error
    return DatasetRows(loaded, Path(config.HF_CACHE_HOME))
