"""A plain folder of pictures, or of pictures with texts, as a store of samples without masks.

Every file is read, proven whole and decoded once when the folder is opened, at the edge where photographs are admitted
(pipeline.intake.images), on several threads. A file that is refused costs no training: it is named in `rejected`, and
files = pictures + rejected. Pixels stay in memory where the recipe's `data.cache` lets them; otherwise they are read
when asked for, and a file that has changed since is an error that names it.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.intake.image_files import first_of_each, list_images, read_image
from pipeline.intake.images import read_pixels
from pipeline.intake.instructions import clean_instructions
from pipeline.intake.refusal import Refused
from pipeline.records import Reject
from trainer.data.config import DataConfig
from trainer.data.picture_texts import tabled_texts, texts_beside
from trainer.data.protocol import Frames
from trainer.data.shard_store import KeptImages
from trainer.data.table import resize_image
from trainer.data.texts import Phrasings, Texts

THREADS = 16
SILENT = ("",)
"""The instructions of a picture that is asked for no text."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pictures:
    """n pictures of the folder `root`, in the order of their names; implements `trainer.data.protocol.Store`.

    ids: paths relative to `root`. image_of: int64 n, one number for all files with the same bytes. pixels: uint8 m3hw
    of the distinct images; None: read on demand. Masks are zero, weights one. rejected: files that are no part of it.
    """

    root: Path
    size_hw: tuple[int, int]
    ids: Texts
    instructions: Phrasings
    shas: Texts
    image_of: Tensor
    shard_of: Tensor
    is_gold: Tensor
    p_clean: Tensor
    weight: Tensor
    pixels: Tensor | None
    rejected: tuple[Reject, ...]
    kept: KeptImages = field(default_factory=KeptImages)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def digest(self) -> str:
        """`sha256:` of what is learnt from: names, bytes and texts of all pictures."""
        whole = hashlib.sha256()
        for row in zip(self.ids, self.shas, self.instructions, strict=True):
            whole.update(repr(row).encode())
        return f"sha256:{whole.hexdigest()}"

    def lines(self) -> list[str]:
        """What became of all files, for a terminal."""
        reasons = Counter(reject.reason for reject in self.rejected)
        rows = [
            f"{'file':<32}{len(self) + len(self.rejected):>6}",
            f"{'  picture':<32}{len(self):>6}",
        ]
        return rows + [f"{'  rejected   ' + why:<32}{n:>6}" for why, n in sorted(reasons.items())]

    def frames(self, rows: NDArray[np.int64]) -> Frames:
        """The pixels of `rows`, in that order, and empty masks.

        Raises:
            ValueError: a file is gone or changed.
        """
        if self.pixels is None:
            squashed = np.stack([self._read(row) for row in rows.tolist()])
            image = torch.from_numpy(squashed).permute(0, 3, 1, 2).contiguous()
        else:
            image = self.pixels[self.image_of[torch.from_numpy(rows)]]
        none = torch.zeros(len(rows), *self.size_hw, dtype=torch.uint8)
        return Frames(image=image, target=none, label=none)

    def _read(self, row: int) -> NDArray[np.uint8]:
        number = int(self.image_of[row])
        if (image := self.kept.get(number)) is not None:
            return image
        path = self.root / self.ids[row]
        try:
            data = read_image(path)
            if hashlib.sha256(data).hexdigest() != self.shas[row]:
                raise Refused("image-changed", "its bytes are not those that were admitted")
            image = resize_image(read_pixels(data), self.size_hw)
        except Refused as error:
            raise ValueError(
                f"{path} can no longer be read ({error}); it was whole when the folder was opened: restore it and "
                "start again"
            ) from error
        self.kept.keep(number, image)
        return image


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """One file that was admitted. pixels: uint8 hw3 squashed to the frame; None where they are not kept."""

    sha: str
    texts: tuple[str, ...]
    pixels: NDArray[np.uint8] | None


def open_pictures(root: Path, config: DataConfig, *, texts: bool = False) -> Pictures:
    """Look through a folder, and its folders.

    Args:
        root: the folder.
        config: the training frame, and whether pixels are kept in memory.
        texts: every picture needs one (trainer.data.picture_texts); those without are rejected. Otherwise texts are
            not looked for, and the instructions are empty.

    Raises:
        ValueError: there is no such folder, it holds no picture that can be used, or a table of texts is not readable.
    """
    tables = tabled_texts(root) if texts else {}
    names = sorted({*list_images(root), *tables})
    h, w = config.size_hw
    keeps = config.cache == "memory" or (
        config.cache == "auto" and len(names) * h * w * 3 <= config.memory_mb << 20
    )

    def look(name: str) -> _Seen | Reject:
        try:
            return _look(
                root / name, config.size_hw, keeps, tables.get(name, []) if texts else None
            )
        except Refused as error:
            return error.reject(name)

    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
        found = list(zip(names, pool.map(look, names), strict=True))
    used = [(name, seen) for name, seen in found if isinstance(seen, _Seen)]
    rejected = tuple(seen for _, seen in found if isinstance(seen, Reject))
    assert len(used) + len(rejected) == len(names)
    if not used:
        said = f"{rejected[0].sample_id}: {rejected[0].reason}: {rejected[0].detail}"
        more = "; texts stand in NAME.txt or metadata.jsonl" if texts else ""
        raise ValueError(
            f"none of the {len(names)} files of {root} can be used, the first for {said}{more}"
        )
    return _gather(root, used, rejected, config.size_hw, keeps=keeps)


def _look(path: Path, size_hw: tuple[int, int], keeps: bool, tabled: Sequence[Any] | None) -> _Seen:
    """Raises Refused where the file cannot be used."""
    data = read_image(path)
    pixels = read_pixels(data)
    said = SILENT if tabled is None else clean_instructions([*texts_beside(path), *tabled])
    return _Seen(
        sha=hashlib.sha256(data).hexdigest(),
        texts=said,
        pixels=resize_image(pixels, size_hw) if keeps else None,
    )


def _gather(
    root: Path,
    used: Sequence[tuple[str, _Seen]],
    rejected: tuple[Reject, ...],
    size_hw: tuple[int, int],
    *,
    keeps: bool,
) -> Pictures:
    n = len(used)
    first = np.array(first_of_each([seen.sha for _, seen in used]))
    distinct, image_of = np.unique(first, return_inverse=True)
    pixels = None
    if keeps:
        whole = np.empty((len(distinct), 3, *size_hw), np.uint8)
        for place, row in enumerate(distinct.tolist()):
            kept = used[row][1].pixels
            assert kept is not None
            whole[place] = kept.transpose(2, 0, 1)
        pixels = torch.from_numpy(whole)
    return Pictures(
        root=root,
        size_hw=size_hw,
        ids=Texts([[name for name, _ in used]]),
        instructions=Phrasings([[seen.texts for _, seen in used]]),
        shas=Texts([[seen.sha for _, seen in used]]),
        image_of=torch.from_numpy(image_of.astype(np.int64)),
        shard_of=torch.zeros(n, dtype=torch.int32),
        is_gold=torch.zeros(n, dtype=torch.bool),
        p_clean=torch.ones(n),
        weight=torch.ones(n),
        pixels=pixels,
        rejected=rejected,
    )
