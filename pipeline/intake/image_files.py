"""Files of a folder that count as images, and their bytes.

An image is told by its name, so that a listing reads no pixels; formats that are not admitted are listed all the
same, to end as rejects instead of going missing. `NAME.mask.png` is a gold mask, never an image.
"""

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from pipeline.intake.refusal import Refused
from pipeline.records import Reject

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic", ".avif"}
)
MASK_ENDING = ".mask.png"
MAX_BYTES = 256 * 2**20


def list_images(folder: Path) -> list[str]:
    """Paths of the images under `folder`, relative to it, with slashes, sorted; links to folders are not followed.

    Raises:
        ValueError: the folder does not exist, is no folder, or holds no image.
    """
    if not folder.is_dir():
        raise ValueError(
            f"folder {folder} does not exist or is no folder; expected a folder of images"
        )
    found = [
        (Path(root) / name).relative_to(folder).as_posix()
        for root, _, names in os.walk(folder)
        for name in names
        if Path(name).suffix.lower() in SUFFIXES and not name.lower().endswith(MASK_ENDING)
    ]
    if not found:
        known = " ".join(sorted(SUFFIXES))
        raise ValueError(f"folder {folder} holds no image; expected files ending in one of {known}")
    return sorted(found)


def read_image(path: Path) -> bytes:
    """The bytes of an image file.

    Raises:
        Refused: image-missing, image-not-a-file (a folder, a pipe), image-too-large (over MAX_BYTES) or
            image-unreadable.
    """
    try:
        if not path.exists():
            raise Refused("image-missing", f"{path} does not exist")
        if not path.is_file():
            raise Refused("image-not-a-file", f"{path} is no regular file")
        if (size := path.stat().st_size) > MAX_BYTES:
            raise Refused("image-too-large", f"{path} has {size} bytes; at most {MAX_BYTES}")
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        if isinstance(error, Refused):
            raise
        raise Refused("image-unreadable", f"{path}: {error}") from error


def path_within(folder: Path, text: str) -> Path:
    """`text` from a file that somebody else wrote, as a path that stays inside `folder`.

    Raises:
        Refused: image-outside: empty, absolute, or leading out of the folder by `..`.
    """
    named = PurePosixPath(text)
    if not text.strip() or "\0" in text or named.is_absolute() or ".." in named.parts:
        raise Refused("image-outside", f"{text[:200]!r} is no path inside {folder}")
    return folder / named


def first_of_each(ids: Sequence[str]) -> list[int]:
    """For every id the index at which it first stands.

    >>> first_of_each(["a", "b", "a"])
    [0, 1, 0]
    """
    first: dict[str, int] = {}
    return [first.setdefault(name, index) for index, name in enumerate(ids)]


def duplicate(sample_id: str, index: int, first: int) -> Reject:
    """The reject of input `index`, whose id input `first` has already."""
    return Reject(
        sample_id=f"{sample_id}-again-{index}",
        stage="source",
        reason="duplicate-id",
        detail=f"input {index} has the id {sample_id!r} of input {first}; the first one is kept",
    )
