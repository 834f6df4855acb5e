"""POPE (arXiv 2305.10355): is there such a thing in the image? Asked of things that are there and things that are not.

The published files `coco_pope_{random,popular,adversarial}.json` are JSON lines of `question_id`, `image`, `text` and
`label` (read in AoiDragon/POPE, output/coco). The images are COCO's val2014, in a folder of their own.

`evaluate.py` there reads an answer so: of its first sentence, "no" where one of its words is No, no or not, else "yes".
So every answer that says neither counts as yes. Here such an answer is *unparsed* and right for nobody; the published
reading is reported beside it. "Yes" is the positive class of precision and recall.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from trainer.vqa.item import Item, inside, read_lines

GROUPS = ("random", "popular", "adversarial")
LINE = 'lines of a POPE file: image, text, label ("yes" or "no")'
NEGATIVE = frozenset({"no", "not"})


def read(files: Sequence[Path], images: Path | None) -> list[Item]:
    """The questions of POPE files; the setting is the one that the file's name says, else the name itself.

    Raises:
        ValueError: a file is of another format, or an image is missing.
    """
    items: list[Item] = []
    for path in files:
        group = next((name for name in GROUPS if name in path.stem), path.stem)
        for number, row in enumerate(read_lines(path, ("image", "text", "label"), LINE)):
            where = f"{path} question {number}"
            if row["label"] not in ("yes", "no"):
                raise ValueError(f"{where}: label {row['label']!r}; expected {LINE}")
            items.append(
                Item(
                    id=f"{group}/{row.get('question_id', number)}",
                    image=inside(images or path.parent, row["image"], where),
                    text=row["text"],
                    about=row["text"],
                    group=group,
                    answer=row["label"],
                )
            )
    return items


def read_yes_no(reply: str) -> str | None:
    """What the words of the first sentence say; None where they say both or neither.

    >>> read_yes_no("Yes, there is a dog."), read_yes_no("There is no dog."), read_yes_no("A cat.")
    ('yes', 'no', None)
    """
    words = set(re.findall(r"[a-z]+", _first_sentence(reply.rpartition("</think>")[2]).casefold()))
    no, yes = bool(words & NEGATIVE), "yes" in words
    return None if no == yes else "no" if no else "yes"


def read_as_published(reply: str) -> str:
    """By the rule of POPE's evaluate.py: "no" where a word of the first sentence is No, no or not, else "yes"."""
    words = _first_sentence(reply).replace(",", "").split(" ")
    return "no" if {"No", "no", "not"} & set(words) else "yes"


def _first_sentence(reply: str) -> str:
    return reply.partition(".")[0] if "." in reply else reply
