"""RefCOCO, RefCOCO+, RefCOCOg and gRefCOCO: phrases that people wrote about objects of COCO photographs.

The published layout: a folder with `instances.json` and `refs(unc).p`, `refs(google).p` or `refs(umd).p` (gRefCOCO:
`grefs(unc).json`), beside the photographs of COCO train2014. The pickles are read without executing them
(`pipeline.intake.plain_pickle`). One ref is one input: its sentences are phrasings of one instruction, its gold the
union of its annotations. A ref of gRefCOCO without a target has an empty gold mask, and `no_target` in `extra`.

Yu et al. (arXiv 1608.00272), Mao et al. (1511.02283), Liu, Ding and Jiang, "GRES" (2306.00968).
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.codec import ImageFormat
from pipeline.intake.admission import FileConfig, GoldForm, admit_sample
from pipeline.intake.image_files import duplicate, first_of_each, path_within, read_image
from pipeline.intake.instances import Instances, image_url
from pipeline.intake.plain_pickle import read_plain_pickle
from pipeline.intake.refusal import Refused
from pipeline.records import Reject, Sample, safe_id

REFS = re.compile(r"g?refs\((\w+)\)\.(p|json)")
PLACES = (
    "images/train2014", "train2014", "images", "../images/mscoco/images/train2014", "../images/train2014",
    "../train2014", "../images",
)  # fmt: skip
"""Where the photographs are looked for, from the folder of the refs."""
NO_ANNOTATION = (-1, None)
"""How gRefCOCO writes "no annotation" in a list of annotation ids."""


class Config(FileConfig):
    """`path` is the folder with `instances.json` and the refs. `split` is one of the refs' own, or "all"."""

    images: Path | None = None
    """The folder of the photographs; empty: looked for in PLACES."""
    split_by: str = ""
    """What stands in the brackets of the refs file: unc, google or umd; may be left out where there is one file."""
    gold: GoldForm = "mask"
    """box: no gold; the annotations' boxes go to `extra` for a segmenter to fill (the stage `boxes`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One ref. `refused` says what is wrong with it already."""

    id: str
    split: str = ""
    image_id: Any = None
    texts: tuple[Any, ...] = ()
    times: tuple[int, ...] = ()
    """How often each text stands among the ref's sentences: published evaluations count every one."""
    annotation_ids: tuple[Any, ...] = ()
    refused: Refused | None = None


def make(config: Config, image_format: ImageFormat = "jpg") -> "RefCoco":
    """Read refs and annotations.

    Raises:
        ValueError: a file or folder is missing, a file is of another kind (a pickle of more than plain data
            included), or no ref is of the split.
    """
    if not (config.path / "instances.json").is_file():
        raise ValueError(
            f"{config.path}: expected a folder with instances.json and refs(unc).p or the like; point source.path at it"
        )
    places = [config.images] if config.images else [config.path / place for place in PLACES]
    images = next((place for place in places if place.is_dir()), None)
    if images is None:
        tried = ", ".join(str(place) for place in places)
        raise ValueError(f"no folder of photographs at {tried}; set source.images to train2014")
    return RefCoco(config, image_format, find_refs(config.path, config.split_by), images)


def find_refs(folder: Path, split_by: str) -> Path:
    """The refs file of a folder, the one for `split_by` unless that is empty.

    Raises:
        ValueError: there is none, or several.
    """
    found = {
        path: match[1]
        for path in sorted(folder.iterdir())
        if (match := REFS.fullmatch(path.name)) and split_by in ("", match[1])
    }
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        wanted = f"({split_by})" if split_by else "(...)"
        raise ValueError(
            f"{folder}: expected one refs{wanted}.p, refs{wanted}.json or grefs{wanted}.json, found {names}; "
            "set source.split_by to what stands in the brackets"
        )
    return next(iter(found))


def read_refs(path: Path) -> list[Any]:
    """The list in a refs file.

    Raises:
        ValueError: it is unreadable, a pickle of more than plain data, or no list.
    """
    if path.suffix == ".p":
        refs = read_plain_pickle(path)
    else:
        try:
            refs = json.loads(path.read_bytes())
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path} is no readable JSON: {error}") from error
    if not isinstance(refs, list):
        raise ValueError(f"{path} holds a {type(refs).__name__}; expected a list of refs")
    return refs


class RefCoco:
    """The refs of a split, in the order of the file."""

    fills = frozenset[str]()

    def __init__(self, config: Config, image_format: ImageFormat, refs: Path, images: Path) -> None:
        self._config = config
        self._image_format: ImageFormat = image_format
        self._folder = images
        self._dataset = config.dataset or config.path.resolve().name
        self._table = Instances(config.path / "instances.json")
        items = [self._item(number, ref) for number, ref in enumerate(read_refs(refs))]
        self._items = [i for i in items if config.split in ("all", i.split) or i.refused]
        if not any(item.refused is None for item in self._items):
            counts = Counter(item.split for item in items if not item.refused)
            raise ValueError(
                f"{refs} holds no ref of split {config.split!r}; its splits are {dict(counts)}, or say all"
            )
        self._first = first_of_each([item.id for item in self._items])

    def __len__(self) -> int:
        return len(self._items)

    def load(self, index: int) -> Sample | Reject:
        """The sample of a ref, or why there is none."""
        item, first = self._items[index], self._first[index]
        if first != index:
            return duplicate(item.id, index, first)
        try:
            return self._sample(item)
        except Refused as error:
            return error.reject(item.id)

    def _sample(self, item: Item) -> Sample:
        if item.refused:
            raise item.refused
        image = self._table.image(item.image_id)
        named = str(image["file_name"])
        names, is_mask = item.annotation_ids, self._config.gold == "mask"
        return admit_sample(
            read_image(path_within(self._folder, named)),
            id=item.id,
            image_format=self._image_format,
            instructions=item.texts,
            config=self._config,
            key=named,
            dataset=self._dataset,
            split=item.split,
            licence=self._table.licence(image),
            url=image_url(image),
            style="multi" if len(names) > 1 else self._dataset if names else "no-target",
            gold=lambda hw: self._table.gold(item.image_id, names, hw) if is_mask else None,
            boxes=lambda hw: None if is_mask else self._table.boxes(item.image_id, names, hw),
            extra=(
                ("ann_ids", list(names)),
                ("no_target", not names),
                ("sentence_times", list(item.times)),
            ),
        )

    def _item(self, number: int, ref: Any) -> Item:
        try:
            return self._read(ref)
        except Refused as error:
            name = safe_id(f"{self._dataset}-row-{number:06d}")
            return Item(id=name, refused=Refused(error.reason, f"ref {number}: {error.detail}"))

    def _read(self, ref: Any) -> Item:
        wanted = {"ref_id": int | str, "image_id": int | str, "split": str, "sentences": list}
        for key, kind in wanted.items():
            if not isinstance(ref, Mapping) or not isinstance(ref.get(key), kind):
                raise Refused(
                    "ref-malformed", f"{str(ref)[:120]} has no {key}; expected {', '.join(wanted)}"
                )
        names = ref.get("ann_id")
        if not isinstance(names, list | tuple):
            names = [names]
        if not all(isinstance(name, int | str | None) for name in names):
            raise Refused("ref-malformed", f"ann_id is {str(names)[:80]}; expected numbers")
        is_absent = ref.get("no_target", -1 in names)
        names = tuple(dict.fromkeys(name for name in names if name not in NO_ANNOTATION))
        texts, times = phrasings(ref["sentences"])
        if bool(names) == bool(is_absent):
            raise Refused("ref-malformed", f"no_target is {is_absent}, ann_id {ref.get('ann_id')}")
        return Item(
            id=safe_id(f"{self._dataset}-{ref['ref_id']}"),
            split=ref["split"],
            image_id=ref["image_id"],
            texts=texts,
            times=times,
            annotation_ids=names,
        )


def phrasings(sentences: Sequence[Any]) -> tuple[tuple[Any, ...], tuple[int, ...]]:
    """The different texts of a ref, and how often each stands there.

    `sent` (tidied by its authors) goes before `raw`; blank texts are taken only where all are.

    >>> phrasings([{"sent": "left dog", "raw": "LEFT dog"}, {"raw": "left dog"}, {"sent": " "}])
    (('left dog',), (2,))
    """
    rows = [row if isinstance(row, Mapping) else {"sent": row} for row in sentences]
    texts = [row.get("sent") or row.get("raw") or "" for row in rows]
    said = [text for text in texts if not isinstance(text, str) or text.strip()] or texts[:1]
    different = [text for n, text in enumerate(said) if text not in said[:n]]
    return tuple(different), tuple(said.count(text) for text in different)
