"""Every question asked with the whole image and with the masked one, and every answer kept as it comes.

Questions go out in the order of the files, a few at a time; what was answered is in the journal and is not asked again
by a run that goes on. A question without an answer is counted and named, and asked again by the next run.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from annotators.chat.asker import Asker, Question
from pipeline.intake.images import admit, decode
from trainer.use.effects import Effect, Shown, apply_effect
from trainer.vqa.egothink import Grading
from trainer.vqa.item import Item
from trainer.vqa.journal import Entry, Journal

View = Literal["whole", "masked"]
Predict = Callable[[NDArray[np.uint8], str], NDArray[np.float32]]
"""RGB uint8 (h, w, 3) and what to look for -> the share in [0, 1] (h, w) in which each pixel is relevant."""
AT_ONCE = 32
"""Questions that are in hand together; a kill loses the masks of these, and no answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Masking:
    """How the masked view is made: which mask, shown in which way. See `trainer.use.effects.apply_effect`."""

    predict: Predict
    effect: Effect = "overlay"
    threshold: float = 0.5
    crop: bool = True

    def show(self, image: NDArray[np.uint8], about: str) -> Shown:
        """The image as the model downstream sees it; the whole one, and `failed_open`, where nothing is left."""
        share = self.predict(image, about)
        return apply_effect(
            image, share, effect=self.effect, threshold=self.threshold, crop=self.crop
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A question without an answer, and why."""

    key: str
    why: str


def ask_all(
    items: Sequence[Item],
    *,
    asker: Asker,
    masking: Masking | None,
    journal: Journal,
    max_tokens: int,
    tell: Callable[[str], None],
) -> list[Failure]:
    """Ask what the journal does not hold yet; answers go there under `key(item, view)`.

    Raises:
        Halt: the endpoint is gone or refuses everything; what was answered until then is kept.
    """
    views: tuple[View, ...] = ("whole",) if masking is None else ("whole", "masked")
    open_: list[tuple[Item, View]] = [
        (item, view) for item in items for view in views if key(item, view) not in journal.entries
    ]
    failures: list[Failure] = []
    pictures = Pictures()
    for at in range(0, len(open_), AT_ONCE):
        questions: list[Question] = []
        entries: list[Entry] = []
        for item, view in open_[at : at + AT_ONCE]:
            entry: Entry = {"key": key(item, view)}
            try:
                image = pictures.read(item.image)
            except (ValueError, OSError) as error:
                failures.append(Failure(key=entry["key"], why=f"image {item.image.name}: {error}"))
                continue
            if view == "masked":
                assert masking is not None
                shown = masking.show(image, item.about)
                image, entry["box"], entry["failed_open"] = (
                    shown.image,
                    shown.box,
                    shown.failed_open,
                )
            questions.append(Question(user=item.text, images=(image,), max_tokens=max_tokens))
            entries.append(entry)
        failures += _settle(asker.ask(questions), entries, journal)
        tell(f"{min(at + AT_ONCE, len(open_))} of {len(open_)} questions, {len(failures)} failed")
    return failures


def judge_all(
    items: Sequence[Item],
    *,
    asker: Asker,
    grading: Grading,
    answers: Journal,
    journal: Journal,
    max_tokens: int,
    tell: Callable[[str], None],
) -> list[Failure]:
    """Have every answer graded that the journal of ratings does not hold yet.

    Raises:
        Halt: as `ask_all`.
    """
    views: tuple[View, ...] = ("whole", "masked")
    open_ = [
        (item, name)
        for item in items
        for view in views
        if (name := key(item, view)) in answers.entries and name not in journal.entries
    ]
    failures: list[Failure] = []
    for at in range(0, len(open_), AT_ONCE):
        rows = open_[at : at + AT_ONCE]
        questions = [
            Question(
                system=grading.system,
                user=grading.ask(item, answers.entries[name]["text"]),
                max_tokens=max_tokens,
            )
            for item, name in rows
        ]
        failures += _settle(asker.ask(questions), [{"key": name} for _, name in rows], journal)
        tell(f"{min(at + AT_ONCE, len(open_))} of {len(open_)} graded, {len(failures)} failed")
    return failures


def key(item: Item, view: View) -> str:
    """The name of one question in a journal."""
    return f"{view}/{item.id}"


class Pictures:
    """Images as RGB uint8 (h, w, 3), upright; the last one is kept, for files ask many questions about one image."""

    def __init__(self) -> None:
        self._last: tuple[Path, NDArray[np.uint8]] | None = None

    def read(self, path: Path) -> NDArray[np.uint8]:
        """The image in a file.

        Raises:
            ValueError: it is no image, or a damaged one.
        """
        if self._last is None or self._last[0] != path:
            self._last = (path, decode(admit(path.read_bytes(), "png").image))
        return self._last[1]


def _settle(
    replies: Sequence[str | Exception], entries: Sequence[Entry], journal: Journal
) -> list[Failure]:
    """Keep the answers; what is none is a failure."""
    kept: list[Entry] = []
    failures: list[Failure] = []
    for reply, entry in zip(replies, entries, strict=True):
        if isinstance(reply, Exception):
            failures.append(Failure(key=entry["key"], why=str(reply)))
        else:
            kept.append({**entry, "text": reply})
    journal.add(kept)
    return failures
