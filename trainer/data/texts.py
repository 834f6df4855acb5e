"""Texts of millions of samples as sequences: held as arrow arrays, a few bytes each beyond their letters, made into
Python strings one by one when they are asked for. They cross to loader processes as they are.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import pyarrow as pa

CHUNK = 4096
"""Texts that are Python strings at a time when all are walked through."""


class Texts(Sequence[str]):
    """n texts; `parts` are lists of them, laid end to end."""

    def __init__(self, parts: Iterable[Sequence[str]]) -> None:
        self._array = _joined(parts, pa.large_string())

    def __len__(self) -> int:
        return len(self._array)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        found = self._array[index]
        return found.to_pylist() if isinstance(index, slice) else found.as_py()

    def __iter__(self) -> Iterator[str]:
        return _walk(self._array)


class Phrasings(Sequence[tuple[str, ...]]):
    """n tuples of texts, as `Texts` holds them."""

    def __init__(self, parts: Iterable[Sequence[tuple[str, ...]]]) -> None:
        self._array = _joined(parts, pa.large_list(pa.large_string()))

    def __len__(self) -> int:
        return len(self._array)

    @overload
    def __getitem__(self, index: int) -> tuple[str, ...]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[tuple[str, ...]]: ...
    def __getitem__(self, index: int | slice) -> tuple[str, ...] | Sequence[tuple[str, ...]]:
        found = self._array[index]
        if isinstance(index, slice):
            return [tuple(texts) for texts in found.to_pylist()]
        return tuple(found.as_py())

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        return map(tuple, _walk(self._array))


def _joined(parts: Iterable[Sequence[Any]], kind: pa.DataType) -> pa.Array:
    arrays = [pa.array(part, kind) for part in parts]
    return pa.concat_arrays(arrays) if arrays else pa.array([], kind)


def _walk(array: pa.Array) -> Iterator[Any]:
    for start in range(0, len(array), CHUNK):
        yield from array.slice(start, CHUNK).to_pylist()
