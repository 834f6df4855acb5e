"""What a model of the SAM family keeps of an image: made once, it serves all prompts and all samples of that image.

Encoding an image costs some hundred times what answering a prompt does (`annotators.models.encodings` tells images
apart by their pixels and forgets the least recently used).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from annotators.models.encodings import Encodings as Kept
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
        self.made = 0
        self._kept: Kept[Encoding] = Kept(keep=size)

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

        def in_batches(new: list[Image]) -> list[Encoding]:
            parts = [new[start : start + batch_size] for start in range(0, len(new), batch_size)]
            self.made += len(new)
            return [encoding for part in parts for encoding in encode(part)]

        return self._kept.of(images, in_batches)
