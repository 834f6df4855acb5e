"""A discriminator looks at every sample of a dataset once: where it lies, with kept embeddings where there are some."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trainer.data.protocol import Frames, Store
from trainer.data.sampler import plain_batches
from trainer.models.frozen.embeddings import EmbeddingCache, read_all
from trainer.models.judge import Judge, Sight
from trainer.models.protocol import TextTokens

MOST = 64
PIXELS = 2**22
"""At most so many samples, and about so many pixels, are looked at together."""


@torch.no_grad()
def look_through(
    model: Judge, store: Store, *, tokenizer: TextTokens, cache: EmbeddingCache | None = None
) -> Iterator[tuple[slice, Frames, Sight]]:
    """(rows, their pixels, what the discriminator saw), in dataset order, first phrasing, not augmented.

    What it saw is on the model's device.
    """
    module: Any = model
    device = next(module.parameters()).device
    height, width = store.size_hw
    size = max(1, min(MOST, PIXELS // (height * width)))
    for where, frames, tokens in plain_batches(store, tokenizer=tokenizer, size=size):
        embedding = None if cache is None else read_all(cache, list(store.shas[where]))
        if embedding is not None:
            embedding = embedding.to(device)
        image = frames.image.float() / 255.0
        yield where, frames, model.look(image.to(device), tokens.to(device), embedding)


def guess_of(sight: Sight, *, wanted_by: str) -> NDArray[np.float32]:
    """What the discriminator itself would draw, chances bhw in [0, 1].

    Raises:
        ValueError: the discriminator does not guess, which `wanted_by`, a key of the recipe, needs.
    """
    if sight.guess is None:
        raise ValueError(
            f"{wanted_by} needs the guess of the discriminator, and this one has none; "
            "use model.kind=tiny with model.judge=mask, or leave it off"
        )
    return sight.guess.sigmoid().float().cpu().numpy()[:, 0]
