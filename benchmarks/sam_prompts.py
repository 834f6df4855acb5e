"""Sixteen boxes on one image: encoded once, as the expert "sam" does, against encoding it for each box.

Run: python -m benchmarks.sam_prompts (about two minutes). Target 12 times the boxes per CPU-second. Both sides are our
own ViT-B with random parameters, so that the ratio is that of encoding once and of nothing else; the side that
re-encodes answers 4 of the 16 boxes, which costs a quarter of all.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from segment_anything import sam_model_registry

from annotators.sam.masks_from_logits import masks_from_logits
from annotators.sam.prompted import PromptedSam
from benchmarks.ratio import compare, run

BOXES, SHARE = 16, 4


def loaded() -> PromptedSam:
    """ViT-B with random parameters, through its checkpoint."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sam_vit_b.pth"
        torch.save(sam_model_registry["vit_b"]().state_dict(), path)
        return PromptedSam(path)


def measure() -> bool:
    torch.set_num_threads(1)
    sam = loaded()
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (480, 640, 3), dtype=np.uint8)
    corners = np.sort(rng.random((BOXES, 2, 2)), axis=1) * [640, 480]
    boxes = corners.reshape(BOXES, 4)

    def answer(encoding: Any, some: Any) -> list[Any]:
        logits, ious = sam.decode(encoding, boxes=some)
        return masks_from_logits(logits, ious, encoding.frame)

    def ours() -> list[Any]:
        return answer(sam.encode([image])[0], boxes)

    def peer() -> list[Any]:
        return [answer(sam.encode([image])[0], boxes[i : i + 1])[0] for i in range(SHARE)]

    return compare(
        f"{BOXES} boxes on one image, encoded once; re-encoding for each",
        ours=ours,
        peer=peer,
        peer_name="maskmix",
        same=_same,
        target=12.0,
        units=BOXES,
        unit="boxes",
        rounds=1,
        peer_share=SHARE / BOXES,
        on_gpu=sam.device.type == "cuda",
    )


def _same(ours: Any, theirs: Any) -> bool:
    """The boxes that both answered got the same mask, or none."""
    return all(
        (a is None and b is None)
        or (
            a is not None
            and b is not None
            and (a.mask & b.mask).sum() >= 0.999 * (a.mask | b.mask).sum()
        )
        for a, b in zip(ours[:SHARE], theirs, strict=True)
    )


if __name__ == "__main__":
    run(measure)
