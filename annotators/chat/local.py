"""A rewriter and enricher without a server: a transformers chat model in this process. Text only.

The same prompts and the same reading as `chat` (`annotators.chat.writing`); the model sees no photograph, so it calls a
target absent only when the instruction is about nothing that can be seen.
"""

from collections.abc import Sequence

from annotators.boxes import Box
from annotators.chat.in_process import InProcess
from annotators.chat.writing import PROMPT_VERSION, enrich, simplify
from annotators.identity import Identity
from annotators.phrase import Phrase
from annotators.protocols import Image
from annotators.registry import config_hash


class LocalExpert:
    """Instructions to target phrases, and known targets to new instructions, by a local chat model that reads text.

    Args:
        model: hub id or folder of a causal language model with a chat template.
        revision: commit of the hub.
        device: "auto" (CUDA where there is one), "cpu" or "cuda".
        dtype: of the weights: "auto" (float32 on a CPU, bfloat16 on CUDA), "float32", "bfloat16" or "float16".
        batch_size: questions that run together on a GPU.
        wanted: instructions that enriching asks for.
        max_tokens: length of a reply.
    """

    name = "local"
    reads_image = False

    def __init__(
        self,
        *,
        model: str,
        revision: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        batch_size: int = 8,
        wanted: int = 3,
        max_tokens: int = 512,
    ) -> None:
        if wanted < 1:
            raise ValueError(f"expert 'local': wanted is {wanted}; expected 1 instruction or more")
        self.wanted, self.max_tokens = wanted, max_tokens
        self.asker = InProcess(
            self.name,
            model=model,
            revision=revision,
            device=device,
            dtype=dtype,
            batch_size=batch_size,
        )
        options = {"model": model, "dtype": dtype, "wanted": wanted, "max_tokens": max_tokens}
        self.config_hash = config_hash(self.name, options)

    @property
    def identity(self) -> Identity:
        """Who answers.

        Raises:
            ValueError: the weights are not to be had.
        """
        named = self.asker.named
        return Identity(
            expert=self.name,
            model=named.model,
            revision=named.revision,
            prompt_version=PROMPT_VERSION,
            licence=named.licence,
            config_hash=self.config_hash,
        )

    def rewrite(
        self, instructions: Sequence[Sequence[str]], images: Sequence[Image]
    ) -> list[list[Phrase] | Exception]:
        """Phrases of role "simplified", or one of role "absent"; a row that failed is its exception."""
        return simplify(self.asker, instructions, [], expert=self.name, max_tokens=self.max_tokens)

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
            [],
            expert=self.name,
            wanted=self.wanted,
            max_tokens=self.max_tokens,
        )
