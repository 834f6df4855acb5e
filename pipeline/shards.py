"""Plain ustar shards: written to a temporary name, hashed on the way, fsynced, renamed; read by mmap and verified.

Headers are as bare as ustar allows (mtime 0, uid and gid 0, mode 644), so the same samples give the same bytes.
A tar reader cannot tell a cut or flipped archive from a whole one (tarfile takes a bad header for the end), so the
sample count and sha256 live in the receipt and are checked here before a sample is handed out.
"""

import contextlib
import hashlib
import mmap
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

BLOCK = 512
Members = dict[str, memoryview]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardStat:
    """What a receipt keeps of a shard. `offsets` are the byte offsets of each sample's first header, by key."""

    sha256: str
    size: int
    offsets: Mapping[str, int]


class ShardWriter:
    """Writes one shard; nothing is seen under the final name before `close` has returned.

    Use as a context manager: an exception, also one of `close`, removes the temporary file. `stat` is there after a
    clean exit. Two writers of one path do not meet: each has its own temporary file, and the last rename wins.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tmp = temporary_name(path)
        self._sha = hashlib.sha256()
        self._size = 0
        self._offsets: dict[str, int] = {}
        self._file = open(self._tmp, "xb", buffering=_BUFFER)  # noqa: SIM115 - closed by close() or abort()
        self.stat: ShardStat | None = None

    def write(self, key: str, members: Iterable[tuple[str, bytes]]) -> None:
        """Append one sample: its members, in order, as `{key}.{suffix}`.

        Raises:
            ValueError: the sample was written before, has no or repeated members, or a name that readers would
                split elsewhere or that does not fit a ustar header. Nothing of the sample is written then.
        """
        if key in self._offsets:
            raise ValueError(f"sample {key!r} is in shard {self.path.name} already")
        if not key or "." in key:
            raise ValueError(f"sample key {key!r}; expected a name without dots (records.safe_id)")
        parts: list[bytes] = []
        suffixes: set[str] = set()
        for suffix, data in members:
            if not suffix or suffix in suffixes:
                raise ValueError(f"sample {key!r} has an unnamed or repeated member {suffix!r}")
            suffixes.add(suffix)
            parts += (_header(f"{key}.{suffix}", len(data)), data, _PADDING[len(data) % BLOCK])
        if not parts:
            raise ValueError(f"sample {key!r} has no members")
        self._offsets[key] = self._size
        self._append(b"".join(parts))

    def close(self) -> ShardStat:
        """Write the end marker, fsync, rename to the final name, fsync the folder.

        Raises:
            OSError: the disk refused; what was written is dropped.
        """
        try:
            self._append(bytes(2 * BLOCK))
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            os.replace(self._tmp, self.path)
        except BaseException:
            self.abort()
            raise
        sync_folder(self.path.parent)
        self.stat = ShardStat(sha256=self._sha.hexdigest(), size=self._size, offsets=self._offsets)
        return self.stat

    def abort(self) -> None:
        """Drop what was written."""
        with contextlib.suppress(OSError):  # closing flushes, and a full disk refuses that too
            self._file.close()
        self._tmp.unlink(missing_ok=True)

    def _append(self, data: bytes) -> None:
        self._file.write(data)
        self._sha.update(data)
        self._size += len(data)

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


def read_shard(
    path: Path, *, sha256: str | None, count: int | None
) -> Iterator[tuple[str, Members]]:
    """Yield (key, members by suffix) for each sample of a shard, in order.

    Members are views into the mapped file, which stays mapped while a view lives; `bytes(view)` copies one out.
    `sha256` and `count` are what the receipt promises; pass None for both only to look into a file that has none.

    Raises:
        ValueError: the file is not what the receipt promises, or is no plain shard; names the file and the remedy.
    """
    view = _mapped(path)
    if sha256 is not None:
        _check_hash(path, view, sha256)
    seen = 0
    for key, members in _samples(path, view):
        seen += 1
        yield key, members
    if count is not None and seen != count:
        raise ValueError(f"shard {path} holds {seen} samples, its receipt says {count}")


def read_sample(path: Path, offset: int, *, sha256: str | None) -> tuple[str, Members]:
    """(key, members by suffix) of the one sample whose first header stands at byte `offset` (a receipt knows it).

    Pass `sha256` at the first look into a shard; None spares the hash of a shard that was checked before.

    Raises:
        ValueError: the file is not what the receipt promises, or no sample begins there.
    """
    view = _mapped(path)
    if sha256 is not None:
        _check_hash(path, view, sha256)
    for key, members in _samples(path, view, offset):
        return key, members
    raise ValueError(
        f"shard {path} holds no sample at byte {offset}; its receipt is of another file"
    )


def sync_folder(folder: Path) -> None:
    """fsync a folder, so that a rename in it survives a power loss."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def temporary_name(path: Path) -> Path:
    """A hidden name beside `path`, `.{name}.{random}.tmp`, that no other process or thread has."""
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` so that `path` is either absent, old or whole."""
    with atomic_file(path) as file:
        file.write(data)


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """tmp -> fsync -> rename -> fsync folder: the file written becomes `path` when the block ends well."""
    tmp = temporary_name(path)
    try:
        with open(tmp, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(tmp, path)
    except BaseException:
        tmp.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _mapped(path: Path) -> memoryview:
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise ValueError(
                f"shard {path} is empty; restore it, or delete its receipt and run the build again"
            )
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _check_hash(path: Path, view: memoryview, sha256: str) -> None:
    if (got := hashlib.sha256(view).hexdigest()) != sha256:
        raise ValueError(
            f"shard {path} has sha256 {got[:12]}..., its receipt says {sha256[:12]}...; the file is damaged: "
            "restore it, or delete it with its receipt and run the build again"
        )


def _samples(path: Path, view: memoryview, start: int = 0) -> Iterator[tuple[str, Members]]:
    position, end = start, len(view)
    key: str | None = None
    members: Members = {}
    seen: set[str] = set()
    while True:
        if position + BLOCK > end:
            raise ValueError(f"shard {path} ends at byte {end} without an end marker; it is cut")
        header = bytes(view[position : position + BLOCK])
        if not any(header):
            if bytes(view[position:]).strip(b"\x00"):
                raise ValueError(f"shard {path} has a hole at byte {position}; it is damaged")
            break
        name, size = _parse_header(path, position, header)
        member_key, _, suffix = name.partition(".")
        if not member_key or not suffix or "/" in name:
            raise ValueError(f"shard {path} holds {name!r}; expected KEY.SUFFIX with no folder")
        start = position + BLOCK
        if start + size > end:
            raise ValueError(f"shard {path}: member {name!r} is cut at byte {end}")
        if member_key != key:
            if key is not None:
                yield key, members
            if member_key in seen:
                raise ValueError(f"shard {path} holds sample {member_key!r} in two places")
            seen.add(member_key)
            key, members = member_key, {}
        if suffix in members:
            raise ValueError(f"shard {path} holds member {name!r} twice")
        members[suffix] = view[start : start + size]
        position = start + size + (-size % BLOCK)
    if key is not None:
        yield key, members


_OWNER = b"0000644\x000000000\x000000000\x00"  # mode, uid, gid
_MTIME = b"\x0000000000000\x00"  # the end of the size field, and time 0
_KIND = b"0".ljust(101, b"\x00") + b"ustar\x0000".ljust(BLOCK - 257, b"\x00")  # a regular file
_REST_SUM = (
    sum(_OWNER) + sum(_MTIME) + sum(_KIND) + 8 * 0x20
)  # the checksum counts itself as spaces
_BUFFER = 4 << 20
"""Bytes per write call: the kernel takes few large writes at half the CPU of one per sample."""
_PADDING = [bytes(-size % BLOCK) for size in range(BLOCK)]


def _header(name: str, size: int) -> bytes:
    if not name.isascii() or not name.isprintable() or "/" in name:
        raise ValueError(f"member {name!r}; expected printable ASCII without slashes")
    raw = name.encode()
    if len(raw) > 100 or size >= 8**11:
        raise ValueError(
            f"member {name!r} of {size} bytes does not fit a ustar header (100 bytes of name, 8 GiB)"
        )
    digits = b"%011o" % size
    checksum = b"%06o\x00 " % (_REST_SUM + sum(raw) + sum(digits))
    return b"".join((raw.ljust(100, b"\x00"), _OWNER, digits, _MTIME, checksum, _KIND))


def _parse_header(path: Path, position: int, header: bytes) -> tuple[str, int]:
    try:
        stored, size = _octal(header[148:156]), _octal(header[124:136])
        name = header[:100].rstrip(b"\x00").decode("ascii")
        if not name.isprintable():
            raise ValueError(name)
    except ValueError as error:
        raise ValueError(f"shard {path}: no readable tar header at byte {position}") from error
    if sum(header) - sum(header[148:156]) + 8 * 0x20 != stored:
        raise ValueError(f"shard {path}: bad header checksum at byte {position}")
    if header[156] not in (0x30, 0) or header[257:262] != b"ustar" or header[345] != 0:
        raise ValueError(
            f"shard {path}: member {name!r} is not a plain ustar file (links, PAX and prefixes are refused)"
        )
    return name, size


def _octal(field: bytes) -> int:
    digits = field.rstrip(b"\x00 ")
    if not digits.isdigit():  # int() would take signs, spaces and underscores
        raise ValueError(field)
    return int(digits, 8)
