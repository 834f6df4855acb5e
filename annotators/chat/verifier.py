"""A verifier: a vision-language model sees the mask and says whether it fits and whether it is all.

These are the two questions with which SAM 3's data engine has models check masks. The answers become parts of a
label's quality; nothing is filtered by them here.
"""

from collections.abc import Sequence
from typing import Any

from annotators.chat.conversation import Turn, converse, question
from annotators.chat.endpoint import Endpoint
from annotators.chat.prompts import VERIFY, cut
from annotators.chat.replies import read_verdict
from annotators.chat.shown_mask import show_mask
from annotators.identity import Identity
from annotators.ledger import Ledger
from annotators.masks import BoolMask
from annotators.protocols import Image, Verdict
from annotators.registry import config_hash


class VlmVerifier:
    """Masks to verdicts by a vision-language model behind an OpenAI-compatible endpoint.

    It abstains on an empty mask and where there are no instructions; neither costs a call.

    Args:
        max_tokens: length of a reply, thinking included where the server counts it.
        profile: which variables of the environment name the endpoint.
        concurrency: questions that are open at the same time.
        timeout: seconds for one call.
        patience: seconds that a question may take with all its retries.
        image_side: longer side of a photograph as it is sent, px.
        cache: keep replies on disk, so that a rerun pays nothing.
    """

    name = "vlm_verifier"

    def __init__(
        self,
        *,
        max_tokens: int = 512,
        profile: str = "chat",
        concurrency: int = 8,
        timeout: float = 60.0,
        patience: float = 300.0,
        image_side: int = 1024,
        cache: bool = True,
    ) -> None:
        self.max_tokens = max_tokens
        self.asker = Endpoint(
            self.name,
            profile=profile,
            concurrency=concurrency,
            timeout=timeout,
            patience=patience,
            image_side=image_side,
            cache=cache,
        )
        options: dict[str, Any] = {
            "max_tokens": max_tokens,
            "profile": profile,
            "image_side": image_side,
        }
        self.config_hash = config_hash(self.name, options)

    @property
    def identity(self) -> Identity:
        """Who answers.

        Raises:
            ValueError: the environment names no model.
        """
        return Identity(
            expert=self.name,
            model=self.asker.model,
            prompt_version=VERIFY.version,
            config_hash=self.config_hash,
        )

    def bill(self, ledger: Ledger) -> None:
        self.asker.bill(ledger)

    def verify(
        self,
        images: Sequence[Image],
        instructions: Sequence[Sequence[str]],
        masks: Sequence[BoolMask],
    ) -> list[Verdict | Exception | None]:
        """A verdict for each mask, None where there is nothing to ask; a row that failed is its exception."""
        answers: list[Verdict | Exception | None] = [None] * len(images)
        rows: list[int] = []
        turns: list[Turn[Verdict]] = []
        for row, (image, texts, mask) in enumerate(zip(images, instructions, masks, strict=True)):
            if not texts or not mask.any():
                continue
            data = {"instructions": cut(texts)}
            words = question(VERIFY, data, [show_mask(image, mask)], self.max_tokens)
            turns.append(Turn(question=words, read=read_verdict))
            rows.append(row)
        for row, answer in zip(rows, converse(self.asker, turns), strict=True):
            answers[row] = answer
        return answers
