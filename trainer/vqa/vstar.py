"""V*Bench (arXiv 2312.14135): multiple choice about small things in large photographs.

Two published forms are read. The folder, as `vstar_bench_eval.py` of penghao-wu/vstar walks it: `direct_attributes/`
and `relative_position/`, beside each image a JSON object with `question` and `options`, of which *the first is right*;
and `test_questions.jsonl` of the hub dataset craigwu/vstar_bench: `image`, `text` (options lettered, and the request to
answer with a letter), `category`, `label` (known from public loaders of that file; the file itself was not at hand).

The official evaluation takes the option to which an open model gives the highest likelihood. A chat endpoint gives
text alone, so here the letter or the option is read from the reply, as evaluations of closed models do. From the folder
options are lettered in an order that depends on the question's name alone: were the right one always A, a model that
always says A would be perfect.
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainer.vqa.item import SUFFIXES, Item, inside, read_lines, read_object

GROUPS = {"direct_attributes": "Attribute", "relative_position": "Spatial"}
ASK = "Answer with the option's letter from the given choices directly."
LETTERS = "ABCDEFGH"
LINE = "lines of V*Bench's test_questions.jsonl: image, text, category, label"
BESIDE = "an annotation of V*Bench: question (text), options (the right one first)"
LETTERED = re.compile(r"^\s*\(?([A-H])[).:]\s*(.+?)\s*$")
SAID = re.compile(
    r"^(?:the\s+)?(?:correct\s+|right\s+|best\s+)?(?:answer|option|choice)(?:\s+is)?\s*:?\s*",
    re.IGNORECASE,
)
LETTER = re.compile(r"^[(\[]?([A-Ha-h])[)\]]?[.:,]?(?:\s+|$)(.*)$", re.DOTALL)


def read(files: Sequence[Path], images: Path | None) -> list[Item]:
    """The questions of folders and `test_questions.jsonl` files, in their order.

    Raises:
        ValueError: a file is of another format, or an image is missing.
    """
    items: list[Item] = []
    for path in files:
        items += _folder(path, images) if path.is_dir() else _lines(path, images)
    return items


def read_choice(reply: str, options: Sequence[str]) -> str | None:
    """The letter that a reply chooses; None where it is not one clear choice.

    Taken: a letter alone, a letter with its own option, an option's text alone, each also behind "The answer is".
    Not taken: anything that needs a guess, such as a letter with the text of another option.

    >>> read_choice("The answer is (B).", ("red", "blue")), read_choice("Blue", ("red", "blue"))
    ('B', 'B')
    >>> read_choice("A or B", ("red", "blue")) is None
    True
    """
    text = SAID.sub("", reply.rpartition("</think>")[2].strip().strip("*").strip())
    plain = [_plain(option) for option in options]
    if plain.count(_plain(text)) == 1:
        return LETTERS[plain.index(_plain(text))]
    match = LETTER.match(text)
    if match is None:
        return None
    letter, rest = match[1].upper(), _plain(match[2])
    at = LETTERS.index(letter)
    if at >= len(options) or (match[1].islower() and rest):
        return None  # "a blue one" begins with a word
    return letter if rest in ("", plain[at]) else None


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).strip(" .*()[]\"'")


def _folder(root: Path, images: Path | None) -> list[Item]:
    if images is not None:
        raise ValueError(f"{root}: V*Bench's folder holds its images itself; leave out --images")
    items: list[Item] = []
    for category, group in GROUPS.items():
        for path in sorted((root / category).glob("*.json")):
            said = read_object(path, ("question",), BESIDE)
            options: Any = said.get("options")
            if not _are_options(options):
                raise ValueError(f"{path}: options are {str(options)[:80]}; expected {BESIDE}")
            beside = [path.with_suffix(suffix) for suffix in SUFFIXES]
            image = next((one for one in beside if one.is_file()), None)
            if image is None:
                raise ValueError(f"{path}: there is no image beside it ({', '.join(SUFFIXES)})")
            items.append(_item(f"{category}/{path.stem}", image, group, said["question"], options))
    if not items:
        wanted = " or ".join(f"{category}/*.json" for category in GROUPS)
        raise ValueError(f"{root} holds no {wanted}; expected {BESIDE}")
    return items


def _are_options(value: Any) -> bool:
    return (
        isinstance(value, list)
        and 2 <= len(value) <= len(LETTERS)
        and all(isinstance(option, str) and option.strip() for option in value)
    )


def _item(id: str, image: Path, group: str, question: str, options: list[str]) -> Item:
    order = sorted(range(len(options)), key=lambda n: hashlib.sha256(f"{id}/{n}".encode()).digest())
    shown = tuple(options[n] for n in order)
    lines = [question, *(f"({LETTERS[n]}) {option}" for n, option in enumerate(shown)), ASK]
    return Item(
        id=id, image=image, text="\n".join(lines), about=question, group=group,
        answer=LETTERS[order.index(0)], options=shown,
    )  # fmt: skip


def _lines(path: Path, images: Path | None) -> list[Item]:
    items: list[Item] = []
    for number, row in enumerate(read_lines(path, ("image", "text", "category", "label"), LINE)):
        where = f"{path} question {number}"
        if row["category"] not in GROUPS:
            raise ValueError(
                f"{where}: category {row['category']!r}; expected one of {', '.join(GROUPS)}"
            )
        question, options = _split(row["text"])
        if row["label"] not in LETTERS[: len(options)] or len(row["label"]) != 1:
            raise ValueError(
                f"{where}: label {row['label']!r} is none of its {len(options)} lettered options"
            )
        items.append(
            Item(
                id=f"{row['category']}/{row.get('question_id', number)}",
                image=inside(images or path.parent, row["image"], where),
                text=row["text"],
                about=question,
                group=GROUPS[row["category"]],
                answer=row["label"],
                options=options,
            )
        )
    return items


def _split(text: str) -> tuple[str, tuple[str, ...]]:
    """The question and its lettered options."""
    head: list[str] = []
    options: list[str] = []
    for line in text.splitlines():
        match = LETTERED.match(line)
        if match and match[1] == LETTERS[len(options)]:
            options.append(match[2])
        elif not options:
            head.append(line)
    return " ".join(" ".join(head).split()), tuple(options)
