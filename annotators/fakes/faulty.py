"""An expert that misbehaves on request: slow, raising, or taking its whole process down. For fault tests and docs."""

import os
import signal
import time
from collections.abc import Sequence

import numpy as np

from annotators.candidate import Candidate, Provenance
from annotators.masks import encode_mask
from annotators.phrase import Phrase
from annotators.protocols import Image
from annotators.registry import config_hash


class FaultyTextSegmenter:
    """Marks the left half of every image, unless a phrase holds one of its trigger words.

    `seconds` is how long each image takes; a phrase with `raise_on` in it raises, one with `die_on` kills the
    process with SIGKILL, as a segfault or the kernel's out-of-memory killer would, one with `hang_on` never ends.
    """

    name = "fake_faulty"

    def __init__(
        self, *, seconds: float = 0.0, raise_on: str = "", die_on: str = "", hang_on: str = ""
    ) -> None:
        self.seconds = seconds
        self.raise_on = raise_on
        self.die_on = die_on
        self.hang_on = hang_on
        options = {"seconds": seconds, "raise_on": raise_on, "die_on": die_on, "hang_on": hang_on}
        self.config_hash = config_hash(self.name, options)
        self._made_by = Provenance(expert=self.name, config_hash=self.config_hash, score_raw=0.5)

    def segment_text(
        self, images: Sequence[Image], phrases: Sequence[Sequence[Phrase]]
    ) -> list[list[Candidate]]:
        """One candidate per image that has a phrase."""
        return [self._one(image, texts) for image, texts in zip(images, phrases, strict=True)]

    def _one(self, image: Image, phrases: Sequence[Phrase]) -> list[Candidate]:
        time.sleep(self.seconds)
        text = " ".join(phrase.text for phrase in phrases)
        if self.raise_on and self.raise_on in text:
            raise RuntimeError(f"asked to raise on {self.raise_on!r}")
        if self.die_on and self.die_on in text:
            os.kill(os.getpid(), signal.SIGKILL)
        while self.hang_on and self.hang_on in text:
            time.sleep(1)
        if not phrases:
            return []
        mask = np.zeros(image.shape[:2], bool)
        mask[:, : max(1, image.shape[1] // 2)] = True
        return [
            Candidate(
                mask=encode_mask(mask),
                phrase=0,
                proposal=None,
                mask_score=0.5,
                stability=1.0,
                made_by=self._made_by,
            )
        ]
