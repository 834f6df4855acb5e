"""Questions to a chat model and the reading of its replies, with one more try for a reply that cannot be read.

One question is about one sample. A reply therefore decides over its own sample alone, whatever it says.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from annotators.chat.asker import Asker, Question
from annotators.chat.json_reader import UnreadableReply
from annotators.chat.prompts import ONCE_MORE, Prompt
from annotators.protocols import Image

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn(Generic[T]):
    """A question and how its reply is read; `read` raises `UnreadableReply` where it cannot."""

    question: Question
    read: Callable[[str], T]


def question(
    prompt: Prompt, data: dict[str, Any], images: Sequence[Image], max_tokens: int
) -> Question:
    """`prompt` about one sample: its texts as data, its photograph (at most one)."""
    assert len(images) <= 1, f"{len(images)} images in a question about one sample"
    return Question(
        system=prompt.system,
        user=prompt.fill(data),
        images=tuple(images),
        schema_name=prompt.name,
        schema=prompt.schema,
        max_tokens=max_tokens,
    )


def converse(asker: Asker, turns: Sequence[Turn[T]]) -> list[T | Exception]:
    """What each reply says, or why there is no answer.

    A reply that cannot be read is asked for once more, at the cost of a second call; the second reply is the last.

    Raises:
        Halt: the asker says that the build must stop.
    """
    answers = _round(asker, turns)
    again = [row for row, answer in enumerate(answers) if isinstance(answer, UnreadableReply)]
    retried = [
        replace(
            turns[row],
            question=replace(turns[row].question, user=turns[row].question.user + ONCE_MORE),
        )
        for row in again
    ]
    for row, answer in zip(again, _round(asker, retried), strict=True):
        answers[row] = answer
    return answers


def _round(asker: Asker, turns: Sequence[Turn[T]]) -> list[T | Exception]:
    if not turns:
        return []
    replies = asker.ask([turn.question for turn in turns])
    assert len(replies) == len(turns), f"{len(replies)} replies to {len(turns)} questions"
    return [_read(turn, reply) for turn, reply in zip(turns, replies, strict=True)]


def _read(turn: Turn[T], reply: str | Exception) -> T | Exception:
    if isinstance(reply, Exception):
        return reply
    try:
        return turn.read(reply)
    except UnreadableReply as error:
        return error
