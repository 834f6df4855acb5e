"""Encode once: the same pixels are encoded one time, however many samples and calls ask for them.

Several instructions about one photograph bring its pixels several times in one call, and again in the next. What
costs is the image encoder; what it gave is kept under a hash of the pixels, least recently used out first. Exact: a
kept encoding is the very tensor that was made.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import numpy as np

from annotators.protocols import Image

T = TypeVar("T")


def pixels_key(image: Image) -> str:
    """Name of an image's content: equal for equal (h, w, 3) pixels, whatever array holds them."""
    whole = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
    whole.update(np.ascontiguousarray(image).data)
    return whole.hexdigest()


class Encodings(Generic[T]):
    """The last `keep` encodings of one model, an attribute of the expert that uses it.

        features = self._encodings.of(images, self._encode)  # one per image; `_encode` sees each new image once

    Args:
        keep: how many stay after a call; within a call all of its encodings are held.
    """

    def __init__(self, keep: int = 8) -> None:
        self.keep = keep
        self._kept: OrderedDict[str, T] = OrderedDict()

    def of(self, images: Sequence[Image], encode: Callable[[list[Image]], Sequence[T]]) -> list[T]:
        """One encoding per image, in order; `encode` is given the images not kept, without repeats.

        `encode` is not called when all are kept. What it raises goes through, and nothing is kept of that call.
        """
        keys = [pixels_key(image) for image in images]
        new = {key: image for key, image in zip(keys, images, strict=True) if key not in self._kept}
        made = encode([*new.values()]) if new else []
        assert len(made) == len(new), f"{len(made)} encodings of {len(new)} images"
        here = {key: self._kept[key] for key in keys if key in self._kept}
        here.update(zip(new, made, strict=True))
        for key in keys:
            self._kept[key] = here[key]
            self._kept.move_to_end(key)
        while len(self._kept) > self.keep:
            self._kept.popitem(last=False)
        return [here[key] for key in keys]
