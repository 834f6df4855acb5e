"""COCO instance annotations, with an optional file of instructions: `image_id, instruction, style, ann_ids` a line.

With instructions every line is one input, and its gold is the union of the masks of `ann_ids`; images that no line
names are no inputs. Without, every (image, category) is one input, "the dog" or "every dog", and an image without
annotations is a reject. Lin et al., "Microsoft COCO" (arXiv 1405.0312).
"""

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.codec import ImageFormat
from pipeline.intake.admission import FileConfig, GoldForm, admit_sample
from pipeline.intake.image_files import duplicate, first_of_each, read_image
from pipeline.intake.instances import Instances, image_url
from pipeline.intake.refusal import Refused
from pipeline.records import Reject, Sample, safe_id


class Config(FileConfig):
    """`path` is the instances .json, or a folder with `instances.json` (or one `annotations/instances_*.json`).

    `images` is the folder of the photographs (default: `images` beside the .json, else where the .json is);
    `instructions` a .jsonl file (default: `instructions.jsonl` beside the .json where there is one).
    """

    images: Path | None = None
    instructions: Path | None = None
    ask: Literal["lines", "categories"] = "lines"
    """categories: leave the file of instructions aside and ask for every category."""
    gold: GoldForm = "mask"
    """box: no gold; the annotations' boxes go to `extra` for a segmenter to fill (the stage `boxes`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One input: instructions over some annotations of one image. `refused` says what is wrong with it already."""

    id: str
    image_id: Any
    texts: tuple[Any, ...]
    style: str
    annotation_ids: tuple[Any, ...]
    refused: Refused | None = None


def make(config: Config, image_format: ImageFormat = "jpg") -> "Coco":
    """Read the annotations and list the inputs.

    Raises:
        ValueError: a file or folder is missing, or the .json is no COCO instances file.
    """
    instances = find_instances(config.path)
    home = instances.parent.parent if instances.parent.name == "annotations" else instances.parent
    beside = home / "images"
    images = config.images or (beside if beside.is_dir() else home)
    if not images.is_dir():
        raise ValueError(f"folder of images {images} does not exist; set source.images")
    instructions = config.instructions
    if config.ask == "categories":
        instructions = None
    elif instructions is None and (home / "instructions.jsonl").is_file():
        instructions = home / "instructions.jsonl"
    if instructions is not None and not instructions.is_file():
        raise ValueError(f"instructions {instructions} do not exist; expected a .jsonl file")
    return Coco(config, image_format, instances, images, instructions)


def find_instances(path: Path) -> Path:
    """The instances .json at or under `path`.

    Raises:
        ValueError: there is none, or several.
    """
    if path.is_file():
        return path
    if (path / "instances.json").is_file():
        return path / "instances.json"
    found = sorted((path / "annotations").glob("instances_*.json"))
    if len(found) == 1:
        return found[0]
    names = ", ".join(file.name for file in found) or "none"
    raise ValueError(
        f"{path}: expected an instances .json, or a folder with instances.json or exactly one "
        f"annotations/instances_*.json (found {names}); point source.path at the file"
    )


class Coco:
    """The inputs in the order of the instructions file, or by image and category as the .json lists them."""

    fills = frozenset[str]()

    def __init__(
        self,
        config: Config,
        image_format: ImageFormat,
        instances: Path,
        images: Path,
        instructions: Path | None,
    ) -> None:
        self._config = config
        self._image_format: ImageFormat = image_format
        self._folder = images
        self._dataset = config.dataset or "coco"
        self._table = Instances(instances)
        self._items = self._by_line(instructions) if instructions else self._by_category()
        if not self._items:
            raise ValueError(f"{instructions or instances} lists nothing to read")
        self._first = first_of_each([item.id for item in self._items])

    def __len__(self) -> int:
        return len(self._items)

    def load(self, index: int) -> Sample | Reject:
        """The sample of an input, or why there is none."""
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
            read_image(self._folder / named),
            id=item.id,
            image_format=self._image_format,
            instructions=item.texts,
            config=self._config,
            key=named,
            dataset=self._dataset,
            licence=self._table.licence(image),
            url=image_url(image),
            style=item.style,
            gold=lambda hw: self._table.gold(item.image_id, names, hw) if is_mask else None,
            boxes=lambda hw: None if is_mask else self._table.boxes(item.image_id, names, hw),
            extra=(("ann_ids", list(names)),),
        )

    def _by_line(self, path: Path) -> list[Item]:
        items: list[Item] = []
        seen: defaultdict[Any, int] = defaultdict(int)
        for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
            if not line.strip():
                continue
            try:
                fields = _line(line)
            except Refused as error:
                name = safe_id(f"{self._dataset}-line-{number:06d}")
                at_line = Refused(error.reason, f"line {number}: {error.detail}")
                items.append(_refused(name, at_line))
                continue
            image_id = fields["image_id"]
            stem = str(self._table.images.get(image_id, {}).get("file_name", image_id))
            items.append(
                Item(
                    id=self._id(stem, str(seen[image_id])),
                    image_id=image_id,
                    texts=(fields["instruction"],),
                    style=str(fields.get("style", "")),
                    annotation_ids=tuple(fields["ann_ids"]),
                )
            )
            seen[image_id] += 1
        return items

    def _by_category(self) -> list[Item]:
        found: dict[Any, dict[Any, list[Any]]] = {name: {} for name in self._table.images}
        items: list[Item] = []
        for name, annotation in self._table.annotations.items():
            groups = found.get(annotation["image_id"])
            if groups is None:
                detail = f"ann_id {name!r} is of image {annotation['image_id']!r}, not in the .json"
                refused = Refused("image-missing", detail)
                items.append(_refused(safe_id(f"{self._dataset}-ann-{name}"), refused))
                continue
            groups.setdefault(annotation.get("category_id"), []).append(name)
        for image_id, groups in found.items():
            stem = str(self._table.images[image_id]["file_name"])
            if not groups:
                refused = Refused(
                    "no-annotation", f"{stem} has none, and there are no instructions"
                )
                items.append(_refused(self._id(stem, "none"), refused))
            items += [self._category_item(image_id, stem, *group) for group in groups.items()]
        return items

    def _category_item(self, image_id: Any, stem: str, category: Any, names: list[Any]) -> Item:
        word = self._table.categories.get(category, "")
        name = self._id(stem, word or str(category))
        if not word:
            return _refused(name, Refused("category-unknown", f"category_id {category!r}"))
        several = len(names) > 1 or any(self._table.annotations[n].get("iscrowd") for n in names)
        return Item(
            id=name,
            image_id=image_id,
            texts=(f"every {word}", f"each {word} in the picture") if several else (f"the {word}",),
            style="all" if several else "phrase",
            annotation_ids=tuple(names),
        )

    def _id(self, file_name: str, part: str) -> str:
        stem = str(Path(file_name).with_suffix(""))
        return safe_id(f"{self._dataset}-{stem}-{part.replace(' ', '_')}")


def _refused(name: str, refused: Refused) -> Item:
    return Item(id=name, image_id=None, texts=(), style="", annotation_ids=(), refused=refused)


def _line(line: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise Refused("entry-not-json", f"{line[:80]!r}: {error}") from error
    wanted = {"image_id": int | str, "instruction": object, "ann_ids": list}
    for key, kind in wanted.items():
        if not isinstance(fields, dict) or not isinstance(fields.get(key), kind):
            raise Refused(
                "entry-key-type", f"{line[:80]!r}; expected image_id, instruction, ann_ids (a list)"
            )
    if not all(isinstance(name, int | str) for name in fields["ann_ids"]):
        raise Refused("entry-key-type", f"ann_ids {fields['ann_ids']!r}; expected numbers")
    return fields
