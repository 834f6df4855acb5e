"""A grounder that is asked in words: a vision-language model answers with boxes (VisCoT's place in IVM's panel).

One phrase is one question, in the form that such models are taught; a sample's answer is whole or lost, so a phrase
whose reply cannot be used costs the vote and is seen in the faults.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from annotators.candidate import Proposal, Provenance
from annotators.chat.conversation import Turn, converse, question
from annotators.chat.endpoint import Endpoint
from annotators.chat.json_reader import UnreadableReply
from annotators.chat.prompts import BOXES, cut
from annotators.chat.replies import Found, read_boxes
from annotators.chat.square import pad_square, unpad_box
from annotators.identity import Identity
from annotators.ledger import Ledger
from annotators.phrase import Phrase
from annotators.protocols import Image
from annotators.registry import config_hash


class VlmBoxExpert:
    """Phrases to boxes by a vision-language model behind an OpenAI-compatible endpoint.

    Args:
        grid: how far the model's coordinates go: 1 (VisCoT, LLaVA) or 1000 (Qwen3-VL, InternVL and others).
        max_phrases: phrases of a sample that are asked about, the first ones; each is a call.
        max_boxes: boxes for one phrase; a reply with more is refused.
        max_tokens: length of a reply, thinking included where the server counts it.
        profile: which variables of the environment name the endpoint.
        concurrency: questions that are open at the same time.
        timeout: seconds for one call.
        patience: seconds that a question may take with all its retries.
        image_side: side of the square as it is sent, px.
        cache: keep replies on disk, so that a rerun pays nothing.
    """

    name = "vlm_box"

    def __init__(
        self,
        *,
        grid: int = 1,
        max_phrases: int = 3,
        max_boxes: int = 10,
        max_tokens: int = 512,
        profile: str = "chat",
        concurrency: int = 8,
        timeout: float = 60.0,
        patience: float = 300.0,
        image_side: int = 1024,
        cache: bool = True,
    ) -> None:
        if grid not in BOXES:
            raise ValueError(f"expert 'vlm_box': grid {grid}; expected one of {sorted(BOXES)}")
        if min(max_phrases, max_boxes) < 1:
            raise ValueError(
                f"expert 'vlm_box': max_phrases {max_phrases}, max_boxes {max_boxes}; expected 1 or more"
            )
        self.prompt, self.grid = BOXES[grid], grid
        self.max_phrases, self.max_boxes, self.max_tokens = max_phrases, max_boxes, max_tokens
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
            "grid": grid,
            "max_phrases": max_phrases,
            "max_boxes": max_boxes,
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
            prompt_version=self.prompt.version,
            config_hash=self.config_hash,
        )

    def bill(self, ledger: Ledger) -> None:
        self.asker.bill(ledger)

    def ground(
        self, images: Sequence[Image], phrases: Sequence[Sequence[Phrase]]
    ) -> list[list[Proposal] | Exception]:
        """Boxes in phrase order, those of one phrase in the model's order; a row that failed is its exception."""
        turns: list[Turn[list[Found]]] = []
        asked: list[tuple[int, int]] = []
        for row, (image, of_image) in enumerate(zip(images, phrases, strict=True)):
            numbers = [i for i, phrase in enumerate(of_image) if phrase.role != "absent"]
            square = pad_square(image) if numbers else image
            read = partial(self._read, size_hw=image.shape[:2])
            for number in numbers[: self.max_phrases]:
                data = {"phrase": cut([of_image[number].text])[0]}
                words = question(self.prompt, data, [square], self.max_tokens)
                turns.append(Turn(question=words, read=read))
                asked.append((row, number))
        replies = converse(self.asker, turns)
        model = self.asker.model if turns else ""
        answers: list[list[Proposal] | Exception] = [[] for _ in images]
        for (row, number), found in zip(asked, replies, strict=True):
            so_far = answers[row]
            if isinstance(so_far, Exception):
                continue
            if isinstance(found, Exception):
                answers[row] = found
            else:
                so_far.extend(self._proposal(one, number, model) for one in found)
        return answers

    def _read(self, reply: str, size_hw: tuple[int, int]) -> list[Found]:
        """Boxes in pixels of the photograph."""
        placed: list[Found] = []
        for found in read_boxes(reply, most=self.max_boxes, grid=self.grid):
            box = unpad_box(found.box, size_hw)
            if box is None:
                raise UnreadableReply(
                    f"box {found.box} lies in the bars beside the photograph of {size_hw} (h, w) pixels"
                )
            placed.append(Found(box=box, score=found.score))
        return placed

    def _proposal(self, found: Found, number: int, model: str) -> Proposal:
        made_by = Provenance(
            expert=self.name,
            model=model,
            prompt_version=self.prompt.version,
            score_raw=found.score,
            config_hash=self.config_hash,
        )
        return Proposal(box=found.box, phrase=number, score=found.score, made_by=made_by)
