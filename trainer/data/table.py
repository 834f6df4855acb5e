"""A dataset folder -> an in-memory table in the training frame: every image decoded and resized once, uint8.

Meant for sets that fit in memory (a 48x64 frame takes 9 kB an image and 3 kB a mask). Images are squashed to the
frame, as IVM does, and predictions are stretched back. Enriched phrasings are learnt from like the instructions
themselves, which come first. The wall between learning and measuring stands here: gold with
role "audit" is never a target, only a number (`label_iou`) that reports may use.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.codec import decode_sample
from pipeline.intake.images import decode
from pipeline.reader import checked_shards
from pipeline.records import Sample
from pipeline.shards import read_shard
from trainer.data.protocol import Frames


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Table:
    """n samples over m distinct images, in dataset order, training frame h x w.

    images: uint8 m3hw RGB. image_of: int64 n, row of `images`. target: uint8 nhw, what a model learns (gold where
    `is_gold`, else the machine label). label: uint8 nhw, the machine label. is_gold: bool n. label_iou: float32 n, IoU
    of machine label and gold at the stored size where any gold is known, NaN elsewhere; for reports, and for learning
    only where `is_gold`. p_clean, weight: float32 n from the weights sidecar, ones without one. shard_of: int32 n.
    """

    ids: tuple[str, ...]
    instructions: tuple[tuple[str, ...], ...]
    shas: tuple[str, ...]
    images: Tensor
    image_of: Tensor
    target: Tensor
    label: Tensor
    is_gold: Tensor
    label_iou: Tensor
    p_clean: Tensor
    weight: Tensor
    shard_of: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def size_hw(self) -> tuple[int, int]:
        """The training frame."""
        h, w = self.images.shape[2:]
        return h, w

    def frames(self, rows: NDArray[np.int64]) -> Frames:
        """The pixels of `rows`, in that order."""
        index = torch.from_numpy(rows)
        return Frames(
            image=self.images[self.image_of[index]],
            target=self.target[index],
            label=self.label[index],
        )


def load_table(root: Path, *, size_hw: tuple[int, int], oracle: bool = False) -> Table:
    """Read a verified dataset folder.

    Args:
        root: the dataset folder.
        size_hw: training frame in pixels.
        oracle: let "audit" gold be the target too. For upper bounds only; no honest run sets it.

    Raises:
        ValueError: the dataset is unfinished, damaged or empty, or an image does not decode.
    """
    ids: list[str] = []
    instructions: list[tuple[str, ...]] = []
    shas: list[str] = []
    images: list[NDArray[np.uint8]] = []
    row_of: dict[str, int] = {}
    targets: list[NDArray[np.uint8]] = []
    labels: list[NDArray[np.uint8]] = []
    is_gold: list[bool] = []
    ious: list[float] = []
    shard_of: list[int] = []
    for shard, sample in _samples(root):
        assert sample.label is not None, sample.id
        sha = sample.source.image_sha256
        if sha not in row_of:
            row_of[sha] = len(images)
            images.append(resize_image(decode_image(sample), size_hw))
        label = resize_mask(sample.label.mask, size_hw)
        gold = None if sample.gold is None else sample.gold.array()
        learn = gold is not None and (sample.gold_role == "train" or oracle)
        ids.append(sample.id)
        instructions.append(sample.wordings)
        shas.append(sha)
        labels.append(label)
        targets.append(
            resize_mask(gold.astype(np.uint8) * 255, size_hw)
            if gold is not None and learn
            else label
        )
        is_gold.append(learn)
        ious.append(np.nan if gold is None else mask_iou(sample.label.mask >= 128, gold))
        shard_of.append(shard)
    if not ids:
        raise ValueError(f"{root} holds no sample; there is nothing to learn from")
    n = len(ids)
    return Table(
        ids=tuple(ids),
        instructions=tuple(instructions),
        shas=tuple(shas),
        images=torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous(),
        image_of=torch.tensor([row_of[sha] for sha in shas]),
        target=torch.from_numpy(np.stack(targets)),
        label=torch.from_numpy(np.stack(labels)),
        is_gold=torch.tensor(is_gold),
        label_iou=torch.tensor(ious, dtype=torch.float32),
        p_clean=torch.ones(n),
        weight=torch.ones(n),
        shard_of=torch.tensor(shard_of, dtype=torch.int32),
    )


def take(table: Table, rows: Sequence[int]) -> Table:
    """The samples at `rows`, in that order; the images are shared."""
    index = torch.tensor(list(rows), dtype=torch.int64)
    return Table(
        ids=tuple(table.ids[i] for i in rows),
        instructions=tuple(table.instructions[i] for i in rows),
        shas=tuple(table.shas[i] for i in rows),
        images=table.images,
        image_of=table.image_of[index],
        target=table.target[index],
        label=table.label[index],
        is_gold=table.is_gold[index],
        label_iou=table.label_iou[index],
        p_clean=table.p_clean[index],
        weight=table.weight[index],
        shard_of=table.shard_of[index],
    )


def decode_image(sample: Sample) -> NDArray[np.uint8]:
    """The stored image as RGB uint8 (h, w, 3); stored bytes are upright as they stand.

    Raises:
        ValueError: the bytes do not decode to the size the sample says.
    """
    image = decode(sample.image)
    if image.shape[:2] != sample.size_hw:
        raise ValueError(
            f"sample {sample.id!r}: its image decodes to {image.shape[:2]} pixels; expected {sample.size_hw} (h, w)"
        )
    return image


def resize_image(image: NDArray[np.uint8], size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """RGB uint8 (h, w, 3) squashed to `size_hw`; area average when shrinking, bilinear when growing."""
    return np.asarray(
        cv2.resize(image, size_hw[::-1], interpolation=_rule(image, size_hw)), np.uint8
    )


def resize_mask(mask: NDArray[np.uint8], size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """uint8 (h, w) squashed to `size_hw`; a border pixel becomes the share of it that is covered, in 0..255."""
    return np.asarray(cv2.resize(mask, size_hw[::-1], interpolation=_rule(mask, size_hw)), np.uint8)


def mask_iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """IoU of two masks hw; 1 where both are empty."""
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else 1.0


def _samples(root: Path) -> Iterator[tuple[int, Sample]]:
    """(number of its shard, sample), in dataset order."""
    for number, (path, receipt) in enumerate(checked_shards(root)):
        for key, members in read_shard(path, sha256=receipt.sha256, count=receipt.committed):
            yield number, decode_sample(key, members)


def _rule(array: NDArray[np.uint8], size_hw: tuple[int, int]) -> int:
    shrinks = array.shape[0] >= size_hw[0] and array.shape[1] >= size_hw[1]
    return cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
