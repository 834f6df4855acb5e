"""LLaVA-instruct conversations: what people ask about photographs, without any label. Liu et al. (arXiv 2304.08485).

The published JSON: a list (or JSON lines) of `{"id", "image", "conversations": [{"from": "human" | "gpt", "value"}]}`.
Turns of one conversation want different things, so every human turn is an input of its own; its answer is kept in
`extra`. Ids count the entries of the file, because the published `id` stands several times in it.

The file is read entry by entry; a process takes about three times its size in memory (274 MiB: 0.8 GiB at most).
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from pipeline.codec import ImageFormat
from pipeline.intake.admission import FileConfig, admit_sample
from pipeline.intake.image_files import path_within, read_image
from pipeline.intake.refusal import Refused
from pipeline.records import Reject, Sample, safe_id

TOKEN = re.compile(r"\s*<(?:image|im_start|im_end)>\s*")
"""Where the picture goes in a prompt; no word of the person's."""
SPACE = re.compile(r"[\s,]*")


class Config(FileConfig):
    """`path` is the .json or .jsonl file."""

    images: Path | None = None
    """The folder that `image` starts from (default: `images` beside the file, else the file's own folder)."""
    turns: Literal["every", "first"] = "every"
    """first: only what a conversation opens with; later turns may lean on it ("and its colour?")."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One human turn, or an entry that has none to give."""

    id: str
    image: str = ""
    name: str = ""
    turn: int = 0
    text: Any = None
    answer: str = ""
    refused: Refused | None = None


def make(config: Config, image_format: ImageFormat = "jpg") -> "Llava":
    """Read the conversations.

    Raises:
        ValueError: the file or the folder of images is missing, or the file is no list of entries.
    """
    if not config.path.is_file():
        raise ValueError(f"{config.path} does not exist or is no file; expected a .json file")
    beside = config.path.parent / "images"
    images = config.images or (beside if beside.is_dir() else config.path.parent)
    if not images.is_dir():
        raise ValueError(f"folder of images {images} does not exist; set source.images")
    return Llava(config, image_format, images)


class Llava:
    """The turns in the order of the file."""

    fills = frozenset[str]()

    def __init__(self, config: Config, image_format: ImageFormat, images: Path) -> None:
        self._config = config
        self._image_format: ImageFormat = image_format
        self._dataset = config.dataset or config.path.stem
        self._images = images
        try:
            entries = read_entries(config.path.read_bytes().decode("utf-8-sig"))
            self._items = [i for n, entry in enumerate(entries) for i in self._list(n, entry)]
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{config.path} is no JSON list of conversations: {error}") from error
        if not self._items:
            raise ValueError(f"{config.path} holds no conversation")

    def __len__(self) -> int:
        return len(self._items)

    def load(self, index: int) -> Sample | Reject:
        """The sample of a turn, or why there is none."""
        item = self._items[index]
        try:
            if item.refused:
                raise item.refused
            return admit_sample(
                read_image(path_within(self._images, item.image)),
                id=item.id,
                image_format=self._image_format,
                instructions=(item.text,),
                config=self._config,
                key=item.image,
                dataset=self._dataset,
                style="conversation",
                extra=(("conversation", item.name), ("turn", item.turn), ("answer", item.answer)),
            )
        except Refused as error:
            return error.reject(item.id)

    def _list(self, number: int, entry: Any) -> list[Item]:
        start = f"{self._dataset}-{number:07d}"
        try:
            image, turns = read_turns(entry)
        except Refused as error:
            refused = Refused(error.reason, f"entry {number}: {error.detail}")
            return [Item(id=safe_id(start), refused=refused)]
        asked = turns[:1] if self._config.turns == "first" else turns
        return [
            Item(
                id=safe_id(f"{start}-{turn}"),
                image=image,
                name=str(entry.get("id", "")),
                turn=turn,
                text=text,
                answer=answer,
            )
            for turn, (text, answer) in enumerate(asked)
        ]


def read_entries(text: str) -> Iterator[Any]:
    """The entries of a JSON list, or of JSON lines, one after another.

    Raises:
        ValueError: not JSON, or something else than a list or objects.
    """
    decoder = json.JSONDecoder()
    at = _skip(text, 0)
    is_list = text[at : at + 1] == "["
    if not is_list and text[at : at + 1] not in ("{", ""):
        raise ValueError(f"it begins with {text[at : at + 20]!r}; expected [ or {{")
    at = _skip(text, at + is_list)
    while at < len(text) and not (is_list and text[at] == "]"):
        entry, at = decoder.raw_decode(text, at)
        yield entry
        at = _skip(text, at)
    if is_list and text[at:].strip() != "]":
        raise ValueError("the list has no end, or something follows it; is the file cut?")


def read_turns(entry: Any) -> tuple[str, list[tuple[Any, str]]]:
    """The image of a conversation, and its human turns: the text without image tokens, and the answer.

    Raises:
        Refused: entry-key-type, no-image (a conversation about nothing seen), image-several or no-turn.
    """
    said = entry.get("conversations") if isinstance(entry, dict) else None
    if not isinstance(said, list) or not all(isinstance(turn, dict) for turn in said):
        raise Refused("entry-key-type", f"{str(entry)[:120]}; expected image and conversations")
    image = entry.get("image")
    if isinstance(image, list):
        if len(image) > 1:
            raise Refused("image-several", f"{len(image)} images; expected one")
        image = image[0] if image else None
    if image in (None, ""):
        raise Refused("no-image", "the conversation is about no image")
    if not isinstance(image, str):
        raise Refused("entry-key-type", f"image is {str(image)[:80]}; expected a path")
    turns: list[tuple[Any, str]] = []
    for turn, after in pairwise([*said, {}]):
        if turn.get("from") == "human":
            text, answer = turn.get("value"), after.get("value")
            tidy = TOKEN.sub("\n", text).strip() if isinstance(text, str) else text
            is_answer = after.get("from") == "gpt" and isinstance(answer, str)
            turns.append((tidy, str(answer) if is_answer else ""))
    if not turns:
        raise Refused("no-turn", "the conversation has no turn from a human")
    return image, turns


def _skip(text: str, at: int) -> int:
    found = SPACE.match(text, at)
    assert found is not None
    return found.end()
