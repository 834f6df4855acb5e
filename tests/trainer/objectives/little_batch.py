"""A batch of made-up images with a bright box each, and the tiny segmenter."""

from dataclasses import replace

import torch
from torch import Tensor

from trainer.data.batch import Batch
from trainer.models.tiny.encoders import ImageEncoder
from trainer.models.tiny.segmenter import Segmenter


def segmenter(seed: int = 0) -> Segmenter:
    torch.manual_seed(seed)
    return Segmenter(
        image=ImageEncoder(width=8), vocabulary=12, max_tokens=8, dim=16, depth=1, heads=2
    )


def little_batch(
    *, b: int = 6, gold: int = 3, seed: int = 1, theta: Tensor | None = None, size: int = 32
) -> Batch:
    """The first `gold` samples are gold; masks are boxes in different places."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.zeros(b, 1, size, size)
    for i in range(b):
        y, x = (int(v) for v in torch.randint(0, size - 12, (2,), generator=generator))
        mask[i, :, y : y + 12, x : x + 12] = 1.0
    image = 0.3 * torch.rand(b, 3, size, size, generator=generator) + 0.6 * mask
    return Batch(
        image=image,
        tokens=torch.randint(2, 12, (b, 3), generator=generator),
        mask=mask,
        label=mask.roll(1, 0),
        pixel_valid=torch.ones(b, 1, size, size),
        theta=torch.eye(2, 3).expand(b, 2, 3) if theta is None else theta,
        weight=torch.ones(b),
        p_clean=torch.linspace(0.1, 0.9, b),
        is_gold=torch.arange(b) < gold,
        rows=torch.arange(b),
        ids=tuple("abcdefghij"[:b]),
        chance=torch.arange(b),
    )


def without_gold(batch: Batch) -> Batch:
    """The same samples, all of them the machine's."""
    return replace(batch, is_gold=torch.zeros_like(batch.is_gold))
