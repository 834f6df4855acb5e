"""A COCO instances file: photographs, and what people drew on them. Lin et al., "Microsoft COCO" (arXiv 1405.0312).

The table is read once and held; masks are drawn when they are asked for. What a row lacks costs the sample that
needs it, never the file.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from annotators.masks import Mask
from pipeline.intake.gold_masks import mask_from_polygons, mask_from_rle, union
from pipeline.intake.human_boxes import human_boxes
from pipeline.intake.refusal import Refused

Size = tuple[int, int]


class Instances:
    """Rows of `images` and `annotations` by id, and the names of `categories`."""

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            ValueError: it is no COCO instances file, or an id stands twice in it.
        """
        tables = _read_tables(path)
        self.images: dict[Any, dict[str, Any]] = {image["id"]: image for image in tables["images"]}
        self.annotations: dict[Any, dict[str, Any]] = {a["id"]: a for a in tables["annotations"]}
        self.categories = {c["id"]: str(c["name"]) for c in tables.get("categories", [])}
        self._licences = {entry["id"]: entry for entry in tables.get("licenses", [])}

    def image(self, image_id: Any) -> dict[str, Any]:
        """The row of an image.

        Raises:
            Refused: image-missing.
        """
        row = self.images.get(image_id)
        if row is None:
            raise Refused("image-missing", f"image_id {image_id!r} is not in the .json")
        return row

    def licence(self, image: Mapping[str, Any]) -> str:
        """The name of an image's licence, empty where the file does not say."""
        return str(self._licences.get(image.get("license"), {}).get("name", ""))

    def gold(self, image_id: Any, names: Sequence[Any], size_hw: Size) -> Mask:
        """The union of the annotations called `names`, empty for none, in the upright frame of `size_hw`.

        Raises:
            Refused: mask-size (the file declares another size), annotation-unknown, annotation-of-another-image or
                mask-damaged.
        """
        self._check_size(image_id, size_hw)
        return union([self._mask(image_id, name, size_hw) for name in names], size_hw)

    def boxes(self, image_id: Any, names: Sequence[Any], size_hw: Size) -> list[list[float]]:
        """The `bbox` of each of the annotations called `names`, XYXY pixels cut at the border of the image.

        Raises:
            Refused: as `gold`, or box-damaged or box-empty.
        """
        self._check_size(image_id, size_hw)
        drawn = [self._row(image_id, name).get("bbox") for name in names]
        return human_boxes(drawn, size_hw, form="xywh")

    def _check_size(self, image_id: Any, size_hw: Size) -> None:
        image = self.image(image_id)
        declared = (image.get("height"), image.get("width"))
        if declared != size_hw:
            raise Refused("mask-size", f"the .json says {declared} (h, w), the image is {size_hw}")

    def _row(self, image_id: Any, name: Any) -> dict[str, Any]:
        annotation = self.annotations.get(name)
        if annotation is None:
            raise Refused("annotation-unknown", f"ann_id {name!r} is not in the .json")
        if annotation["image_id"] != image_id:
            raise Refused(
                "annotation-of-another-image",
                f"ann_id {name!r} is of image {annotation['image_id']!r}, not {image_id!r}",
            )
        return annotation

    def _mask(self, image_id: Any, name: Any, size_hw: Size) -> Mask:
        shape = self._row(image_id, name).get("segmentation")
        if isinstance(shape, Mapping):
            return mask_from_rle(shape, size_hw)
        if not shape:
            raise Refused("mask-damaged", f"ann_id {name!r} has no segmentation")
        return mask_from_polygons(shape, size_hw)


def image_url(image: Mapping[str, Any]) -> str:
    """Where the photograph of a row came from, empty where the row does not say."""
    return str(image.get("coco_url") or image.get("flickr_url") or "")


def _read_tables(path: Path) -> dict[str, Any]:
    try:
        tables = json.loads(path.read_bytes())
        for table, keys in (("images", ("id", "file_name")), ("annotations", ("id", "image_id"))):
            for row in tables[table]:
                for key in keys:
                    hash(row[key])
            if len({row["id"] for row in tables[table]}) < len(tables[table]):
                raise ValueError(f"an id of {table} stands twice")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{path} is no COCO instances file ({error!r}); expected images and annotations"
        ) from error
    return tables
