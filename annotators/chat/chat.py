"""A rewriter and enricher behind an OpenAI-compatible endpoint: the LLM of IVM's data engine (arXiv 2405.19783, 3.2).

Which server, which model and which key stand in the environment and not in the recipe (`annotators.chat.endpoint`);
the model's name is in every phrase. What is asked and how it is read is shared with `local`.
"""

from collections.abc import Sequence
from typing import Any

from annotators.boxes import Box
from annotators.chat.endpoint import Endpoint
from annotators.chat.writing import PROMPT_VERSION, enrich, simplify
from annotators.identity import Identity
from annotators.ledger import Ledger
from annotators.phrase import Phrase
from annotators.protocols import Image
from annotators.registry import config_hash


class ChatExpert:
    """Instructions to target phrases, and known targets to new instructions, by a chat model behind an endpoint.

    Args:
        images: show the photograph; the model must take images. Without it no target is called absent for not being
            there.
        wanted: instructions that enriching asks for.
        max_tokens: length of a reply, thinking included where the server counts it.
        profile: which variables of the environment name the endpoint.
        concurrency: questions that are open at the same time.
        timeout: seconds for one call.
        patience: seconds that a question may take with all its retries.
        image_side: longer side of a photograph as it is sent, px.
        cache: keep replies on disk, so that a rerun pays nothing.
    """

    name = "chat"

    def __init__(
        self,
        *,
        images: bool = False,
        wanted: int = 3,
        max_tokens: int = 512,
        profile: str = "chat",
        concurrency: int = 8,
        timeout: float = 60.0,
        patience: float = 300.0,
        image_side: int = 1024,
        cache: bool = True,
    ) -> None:
        if wanted < 1:
            raise ValueError(f"expert 'chat': wanted is {wanted}; expected 1 instruction or more")
        self.reads_image = images
        self.wanted, self.max_tokens = wanted, max_tokens
        self.asker = Endpoint(
            self.name,
            profile=profile,
            concurrency=concurrency,
            timeout=timeout,
            patience=patience,
            image_side=image_side,
            cache=cache,
        )
        options: dict[str, Any] = {"wanted": wanted, "max_tokens": max_tokens, "profile": profile}
        if images:
            options["image_side"] = image_side
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
            prompt_version=PROMPT_VERSION,
            config_hash=self.config_hash,
        )

    def bill(self, ledger: Ledger) -> None:
        self.asker.bill(ledger)

    def rewrite(
        self, instructions: Sequence[Sequence[str]], images: Sequence[Image]
    ) -> list[list[Phrase] | Exception]:
        """Phrases of role "simplified", or one of role "absent"; a row that failed is its exception."""
        shown = images if self.reads_image else []
        return simplify(
            self.asker, instructions, shown, expert=self.name, max_tokens=self.max_tokens
        )

    def enrich(
        self,
        instructions: Sequence[Sequence[str]],
        boxes: Sequence[Sequence[Box]],
        images: Sequence[Image],
    ) -> list[list[Phrase] | Exception]:
        """Phrases of role "enriched"; a row that failed is its exception."""
        return enrich(
            self.asker,
            instructions,
            boxes,
            images if self.reads_image else [],
            expert=self.name,
            wanted=self.wanted,
            max_tokens=self.max_tokens,
        )
