"""A dataset that need not fit in memory: small facts of every sample in arrays, pixels read from the shards on demand.

Opening walks through all shards once: each one's sha256 is held against its receipt, and the json members give the
facts. That is the check of a process's start; what is read later is held only against its tar header, its name and
its size, so a bit that flips under a running training is not seen (a shard that is cut, replaced or gone is).
Processes of a loader take the opened store over and do not check again.

A sample is decoded and squashed to the training frame when it is asked for, gold masks only where they are the
target. The last images stay, squashed, because the instructions of an image tend to come together when few shards
are shuffled at a time. In memory a sample takes its texts (about 180 bytes with two phrasings) and 40 bytes; opening
takes 0.2 to 0.6 ms of CPU a sample, as busy as the machine was: minutes for a million.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.codec import (
    JSON_SUFFIX,
    MASK_SUFFIX,
    decode_json,
    decode_mask_png,
    gold_of,
    wordings_of,
)
from pipeline.intake.images import decode
from pipeline.reader import checked_shards
from pipeline.shards import read_sample, read_shard
from trainer.data.protocol import Frames
from trainer.data.table import resize_image, resize_mask
from trainer.data.texts import Phrasings, Texts

KEPT_BYTES = 64 << 20
"""Squashed images that each process keeps."""


class KeptImages:
    """The squashed images asked for last, by number of the image, at most `limit` bytes of them; not sent along to
    other processes.
    """

    def __init__(self, *, limit: int = KEPT_BYTES) -> None:
        self._limit = limit
        self._kept: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()
        self._bytes = 0

    def get(self, number: int) -> NDArray[np.uint8] | None:
        """The image, if it is still there; it is then the last to go."""
        if number not in self._kept:
            return None
        self._kept.move_to_end(number)
        return self._kept[number]

    def keep(self, number: int, image: NDArray[np.uint8]) -> None:
        """Keep an image that was not there, in place of those asked for least recently."""
        self._kept[number] = image
        self._bytes += image.nbytes
        while self._bytes > self._limit:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes

    def __reduce__(self) -> tuple[type["KeptImages"], tuple[()], dict[str, object]]:
        return KeptImages, (), {"_limit": self._limit}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ShardStore:
    """n samples of the dataset folder `root`, in its order; implements `trainer.data.protocol.Store`.

    shards: their paths. shard_of: int32 n. offsets: int64 n, of each sample's first header. stored_hw: int32 n2, of
    the stored image in pixels. image_of: int32 n, one number for all samples of an image. size_hw: the training frame.
    """

    shards: tuple[Path, ...]
    size_hw: tuple[int, int]
    ids: Texts
    instructions: Phrasings
    shas: Texts
    shard_of: Tensor
    offsets: Tensor
    stored_hw: Tensor
    image_of: Tensor
    is_gold: Tensor
    p_clean: Tensor
    weight: Tensor
    kept: KeptImages = field(default_factory=KeptImages)

    def __len__(self) -> int:
        return len(self.ids)

    def frames(self, rows: NDArray[np.int64]) -> Frames:
        """The pixels of `rows`, in that order, read and decoded now.

        Raises:
            ValueError: a shard is cut, replaced or gone, or holds a sample that does not decode; names both.
        """
        h, w = self.size_hw
        images = np.empty((len(rows), h, w, 3), np.uint8)
        masks = np.empty((2, len(rows), h, w), np.uint8)
        for i, row in enumerate(rows.tolist()):
            images[i], masks[0, i], masks[1, i] = self._frame(row)
        return Frames(
            image=torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(),
            target=torch.from_numpy(masks[0]),
            label=torch.from_numpy(masks[1]),
        )

    def _frame(self, row: int) -> tuple[NDArray[np.uint8], ...]:
        path, sample_id = self.shards[int(self.shard_of[row])], self.ids[row]
        try:
            key, members = read_sample(path, int(self.offsets[row]), sha256=None)
            if key != sample_id:
                raise ValueError(f"{key!r} stands in its place")
            return self._squashed(row, key, members)
        except (ValueError, OSError) as error:
            raise ValueError(
                f"sample {sample_id!r} can no longer be read from {path}: {error}; the shard was whole when the "
                "dataset was opened: restore it (or delete it with its receipt and build again) and start again"
            ) from error

    def _squashed(
        self, row: int, key: str, members: Mapping[str, memoryview]
    ) -> tuple[NDArray[np.uint8], ...]:
        hw = tuple(self.stored_hw[row].tolist())
        number = int(self.image_of[row])
        image = self.kept.get(number)
        if image is None:
            (data,) = (d for s, d in members.items() if s not in (MASK_SUFFIX, JSON_SUFFIX))
            pixels = decode(data)
            if pixels.shape[:2] != hw:
                raise ValueError(f"its image decodes to {pixels.shape[:2]} pixels; expected {hw}")
            image = resize_image(pixels, self.size_hw)
            self.kept.keep(number, image)
        label = resize_mask(decode_mask_png(key, members[MASK_SUFFIX]), self.size_hw)
        if not bool(self.is_gold[row]):
            return image, label, label
        gold = gold_of(decode_json(key, members[JSON_SUFFIX]))
        assert gold is not None, key
        return image, resize_mask(gold.array().astype(np.uint8) * 255, self.size_hw), label


def open_shards(root: Path, *, size_hw: tuple[int, int], oracle: bool = False) -> ShardStore:
    """Check every shard of a dataset folder against its receipt and gather the facts of its samples.

    Args:
        root: the dataset folder.
        size_hw: training frame in pixels.
        oracle: let "audit" gold be the target too. For upper bounds only; no honest run sets it.

    Raises:
        ValueError: the dataset is unfinished, damaged or empty.
    """
    shards: list[Path] = []
    ids: list[list[str]] = []
    instructions: list[list[tuple[str, ...]]] = []
    shas: list[list[str]] = []
    number_of: dict[bytes, int] = {}
    facts: list[NDArray[np.int64]] = []
    for path, receipt in checked_shards(root):
        its: list[tuple[int, ...]] = []
        for texts in (ids, instructions, shas):
            texts.append([])
        for key, members in read_shard(path, sha256=receipt.sha256, count=receipt.committed):
            f = decode_json(key, members[JSON_SUFFIX])
            sha = f["source"]["image_sha256"]
            ids[-1].append(key)
            instructions[-1].append(wordings_of(f))
            shas[-1].append(sha)
            number = number_of.setdefault(sha.encode(), len(number_of))
            learn = f["gold_role"] == "train" or (oracle and f["gold_role"] == "audit")
            at = receipt.offsets[key]
            its.append((len(shards), at, f["height"], f["width"], number, learn))
        shards.append(path)
        facts.append(np.array(its, np.int64).reshape(-1, 6))
    if not shards or not (table := np.concatenate(facts)).size:
        raise ValueError(f"{root} holds no sample; there is nothing to learn from")
    return ShardStore(
        shards=tuple(shards),
        size_hw=size_hw,
        ids=Texts(ids),
        instructions=Phrasings(instructions),
        shas=Texts(shas),
        shard_of=torch.from_numpy(table[:, 0].astype(np.int32)),
        offsets=torch.from_numpy(table[:, 1].copy()),
        stored_hw=torch.from_numpy(table[:, 2:4].astype(np.int32)),
        image_of=torch.from_numpy(table[:, 4].astype(np.int32)),
        is_gold=torch.from_numpy(table[:, 5].astype(bool)),
        p_clean=torch.ones(len(table)),
        weight=torch.ones(len(table)),
    )
