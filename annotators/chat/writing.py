"""Both directions of IVM's rewriting, over any asker: simplify an instruction, enrich a known target.

A row whose answer failed is the exception that cost it; a row without instructions costs no call and says nothing.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from annotators.boxes import Box
from annotators.chat.asker import Asker
from annotators.chat.conversation import Turn, converse, question
from annotators.chat.prompts import ENRICH, SIMPLIFY, cut
from annotators.chat.replies import (
    LONGEST_PHRASE,
    Made,
    Target,
    read_instructions,
    read_target,
)
from annotators.phrase import Phrase
from annotators.protocols import Image

PROMPT_VERSION = f"{SIMPLIFY.version}+{ENRICH.version}"


def simplify(
    asker: Asker,
    instructions: Sequence[Sequence[str]],
    images: Sequence[Image],
    *,
    expert: str,
    max_tokens: int,
) -> list[list[Phrase] | Exception]:
    """For each sample the phrases that name its target, or one phrase of role "absent". `images` may be empty."""
    rows = [row for row, texts in enumerate(instructions) if texts]
    turns: list[Turn[Target]] = []
    for row in rows:
        shown = images[row : row + 1]
        data = {"photograph": _shown(shown), "instructions": cut(instructions[row])}
        turns.append(Turn(question=question(SIMPLIFY, data, shown, max_tokens), read=read_target))
    targets = converse(asker, turns)
    model = asker.model if turns else ""

    def phrase(text: str, target: Target) -> Phrase:
        return Phrase(
            text=text,
            role="simplified" if target.present else "absent",
            made_by=expert,
            model=model,
            prompt_version=SIMPLIFY.version,
            count=target.count,
            relation=target.relation,
        )

    answers: list[list[Phrase] | Exception] = [[] for _ in instructions]
    for row, target in zip(rows, targets, strict=True):
        if isinstance(target, Exception):
            answers[row] = target
        elif target.present:
            answers[row] = [phrase(text, target) for text in target.phrases]
        else:
            named = target.phrases or (" ".join(instructions[row][0].split())[:LONGEST_PHRASE],)
            answers[row] = [phrase(named[0], target)]
    return answers


def enrich(
    asker: Asker,
    instructions: Sequence[Sequence[str]],
    boxes: Sequence[Sequence[Box]],
    images: Sequence[Image],
    *,
    expert: str,
    wanted: int,
    max_tokens: int,
) -> list[list[Phrase] | Exception]:
    """For each sample at most `wanted` phrases of role "enriched".

    Boxes are XYXY pixels. They are told as fractions of the photograph, so only where `images` says how large it is;
    without images the model learns how many things the target is.
    """
    rows = [row for row, texts in enumerate(instructions) if texts]
    turns: list[Turn[tuple[Made, ...]]] = []
    read = partial(read_instructions, most=wanted)
    for row in rows:
        shown = images[row : row + 1]
        data: dict[str, Any] = {
            "photograph": _shown(shown),
            "instructions": cut(instructions[row]),
            "things": len(boxes[row]) or "unknown",
            "wanted": wanted,
        }
        if shown:
            data["boxes"] = [shares(box, shown[0]) for box in boxes[row]]
        turns.append(Turn(question=question(ENRICH, data, shown, max_tokens), read=read))
    replies = converse(asker, turns)
    model = asker.model if turns else ""
    answers: list[list[Phrase] | Exception] = [[] for _ in instructions]
    for row, made in zip(rows, replies, strict=True):
        if isinstance(made, Exception):
            answers[row] = made
        else:
            answers[row] = [
                Phrase(
                    text=one.text,
                    role="enriched",
                    made_by=expert,
                    model=model,
                    prompt_version=ENRICH.version,
                )
                for one in made
            ]
    return answers


def shares(box: Box, image: Image) -> list[float]:
    """An XYXY pixel box in fractions of the photograph's width and height, to a thousandth."""
    height, width = image.shape[:2]
    return [
        round(float(value) / side, 3) for value, side in zip(box, (width, height) * 2, strict=True)
    ]


def _shown(images: Sequence[Image]) -> str:
    return "shown" if images else "not shown"
