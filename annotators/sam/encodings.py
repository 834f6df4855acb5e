"""Encode once: an image's encoding is kept and serves all prompts and all samples of that image.

Encoding an image costs some hundred times what answering a prompt does. Images are told apart by their pixels, so the
same photograph in several samples, or in a later call, is encoded once. The least recently used encoding goes first.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from annotators.protocols import Image
from annotators.sam.masks_from_logits import Frame


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """What a model keeps of one image: its features, in whatever form its decoder takes, and how the image lies."""

    features: Any
    frame: Frame


class Encodings:
    """The last `size` encodings, by content of the image. `made` counts images that were really encoded."""

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"room for {size} encodings; expected at least 1")
        self.size, self.made = size, 0
        self._kept: OrderedDict[bytes, Encoding] = OrderedDict()

    def of(
        self,
        images: Sequence[Image],
        encode: Callable[[list[Image]], list[Encoding]],
        *,
        batch_size: int,
    ) -> list[Encoding]:
        """The encoding of each image; those not kept are handed to `encode`, each once, `batch_size` at a time.

        All encodings of one call are held until it returns, even when they are more than `size`.
        """
        keys = [key_of(image) for image in images]
        held = {key: self._kept[key] for key in keys if key in self._kept}
        new = {key: image for key, image in zip(keys, images, strict=True) if key not in held}
        waiting = list(new.items())
        for start in range(0, len(waiting), batch_size):
            part = waiting[start : start + batch_size]
            encoded = encode([image for _, image in part])
            held |= zip((key for key, _ in part), encoded, strict=True)
            self.made += len(part)
        for key in keys:
            self._kept[key] = held[key]
            self._kept.move_to_end(key)
        while len(self._kept) > self.size:
            self._kept.popitem(last=False)
        return [held[key] for key in keys]


def key_of(image: Image) -> bytes:
    """A digest of the size and pixels of an image."""
    digest = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
    digest.update(image.tobytes())
    return digest.digest()
