"""COCO instance annotations, with an optional file of instructions: `image_id, instruction, style, ann_ids` a line.

With instructions every line is one input, and its gold is the union of the masks of `ann_ids`; images that no line
names are no inputs. Without, every (image, category) is one input, "the dog" or "every dog", and an image without
annotations is a reject. Lin et al., "Microsoft COCO" (arXiv 1405.0312).
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from annotators.masks import Mask
from pipeline.codec import ImageFormat
from pipeline.intake.admission import FileConfig, admit_sample
from pipeline.intake.gold_masks import mask_from_polygons, mask_from_rle, union
from pipeline.intake.image_files import duplicate, first_of_each, read_image
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
        tables = _read_tables(instances)
        self._config = config
        self._image_format: ImageFormat = image_format
        self._folder = images
        self._dataset = config.dataset or "coco"
        self._images = {image["id"]: image for image in tables["images"]}
        self._annotations = {item["id"]: item for item in tables["annotations"]}
        self._categories = {c["id"]: str(c["name"]) for c in tables.get("categories", [])}
        self._licences = {entry["id"]: entry for entry in tables.get("licenses", [])}
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
        image = self._images.get(item.image_id)
        if image is None:
            raise Refused("image-missing", f"image_id {item.image_id!r} is not in the .json")
        named = str(image["file_name"])
        licence = self._licences.get(image.get("license"), {})
        return admit_sample(
            read_image(self._folder / named),
            id=item.id,
            image_format=self._image_format,
            instructions=item.texts,
            config=self._config,
            key=named,
            dataset=self._dataset,
            licence=str(licence.get("name", "")),
            url=str(image.get("coco_url") or image.get("flickr_url") or ""),
            style=item.style,
            gold=lambda size_hw: self._gold(item, size_hw),
            extra=(("ann_ids", list(item.annotation_ids)),),
        )

    def _gold(self, item: Item, size_hw: tuple[int, int]) -> Mask:
        image = self._images[item.image_id]
        declared = (image.get("height"), image.get("width"))
        if declared != size_hw:
            raise Refused("mask-size", f"the .json says {declared} (h, w), the image is {size_hw}")
        return union([self._mask(item, name, size_hw) for name in item.annotation_ids], size_hw)

    def _mask(self, item: Item, name: Any, size_hw: tuple[int, int]) -> Mask:
        annotation = self._annotations.get(name)
        if annotation is None:
            raise Refused("annotation-unknown", f"ann_id {name!r} is not in the .json")
        if annotation["image_id"] != item.image_id:
            raise Refused(
                "annotation-of-another-image",
                f"ann_id {name!r} is of image {annotation['image_id']!r}, not {item.image_id!r}",
            )
        shape = annotation.get("segmentation")
        if isinstance(shape, Mapping):
            return mask_from_rle(shape, size_hw)
        if not shape:
            raise Refused("mask-damaged", f"ann_id {name!r} has no segmentation")
        return mask_from_polygons(shape, size_hw)

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
            stem = str(self._images.get(image_id, {}).get("file_name", image_id))
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
        found: dict[Any, dict[Any, list[Any]]] = {name: {} for name in self._images}
        items: list[Item] = []
        for name, annotation in self._annotations.items():
            groups = found.get(annotation["image_id"])
            if groups is None:
                detail = f"ann_id {name!r} is of image {annotation['image_id']!r}, not in the .json"
                refused = Refused("image-missing", detail)
                items.append(_refused(safe_id(f"{self._dataset}-ann-{name}"), refused))
                continue
            groups.setdefault(annotation.get("category_id"), []).append(name)
        for image_id, groups in found.items():
            stem = str(self._images[image_id]["file_name"])
            if not groups:
                refused = Refused(
                    "no-annotation", f"{stem} has none, and there are no instructions"
                )
                items.append(_refused(self._id(stem, "none"), refused))
            items += [self._category_item(image_id, stem, *group) for group in groups.items()]
        return items

    def _category_item(self, image_id: Any, stem: str, category: Any, names: list[Any]) -> Item:
        word = self._categories.get(category, "")
        name = self._id(stem, word or str(category))
        if not word:
            return _refused(name, Refused("category-unknown", f"category_id {category!r}"))
        several = len(names) > 1 or any(self._annotations[n].get("iscrowd") for n in names)
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


def _read_tables(path: Path) -> dict[str, Any]:
    try:
        tables = json.loads(path.read_bytes())
        for table, keys in (("images", ("id", "file_name")), ("annotations", ("id", "image_id"))):
            for row in tables[table]:
                for key in keys:
                    hash(row[key])
            if len({row["id"] for row in tables[table]}) < len(tables[table]):
                raise ValueError(f"an id of {table} stands twice")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is no COCO instances file ({error!r}); expected images and annotations"
        ) from error
    return tables
