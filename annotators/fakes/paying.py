"""An expert whose every answer costs a call: to see a build stop at its budget and go on, without an endpoint."""

from collections.abc import Sequence

import numpy as np

from annotators.candidate import Candidate, Provenance
from annotators.identity import Identity
from annotators.ledger import Ledger
from annotators.masks import encode_mask
from annotators.phrase import Phrase
from annotators.protocols import Image
from annotators.registry import config_hash


class PayingTextSegmenter:
    """Marks the upper half of every image and pays one call for it, of one token a word and one for the answer."""

    name = "fake_payer"

    def __init__(self, *, model: str = "halves") -> None:
        options = {"model": model}
        self.identity = Identity(
            expert=self.name, model=model, config_hash=config_hash(self.name, options)
        )
        self._made_by = Provenance(
            expert=self.name,
            model=model,
            config_hash=self.identity.config_hash,
            score_raw=0.5,
        )
        self._ledger: Ledger | None = None

    def bill(self, ledger: Ledger) -> None:
        """Charge all later calls to `ledger`."""
        self._ledger = ledger

    def segment_text(
        self, images: Sequence[Image], phrases: Sequence[Sequence[Phrase]]
    ) -> list[list[Candidate]]:
        """One candidate per image that has a phrase.

        Raises:
            Halt: the ledger allows no further call.
        """
        return [self._one(image, texts) for image, texts in zip(images, phrases, strict=True)]

    def _one(self, image: Image, phrases: Sequence[Phrase]) -> list[Candidate]:
        if not phrases:
            return []
        words = sum(len(phrase.text.split()) for phrase in phrases)
        if self._ledger is not None:
            call = self._ledger.reserve(
                self.name, model=self.identity.model, prompt_tokens=words, completion_tokens=1
            )
            self._ledger.settle(call, prompt_tokens=words, completion_tokens=1, seconds=0.0)
        mask = np.zeros(image.shape[:2], bool)
        mask[: max(1, image.shape[0] // 2)] = True
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
