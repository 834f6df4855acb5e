"""Street scenes with a class for every pixel, asked about by template, with a machine label spoiled on purpose.

A folder of NAME.jpg photographs and NAME.png class maps. One sample for every class (and for some, every half of the
picture) that covers at least `min_area`; gold is the true region, and each sample is born with one candidate that is
right or wrong in known shares (`pipeline.intake.label_noise`). The candidate carries the same scores either way;
what was done to it stands in `extra` for audits, where no expert and no trainer looks.

Cambridge-driving Labeled Video Database: Brostow, Fauqueur and Cipolla, Pattern Recognition Letters 30(2), 2009.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from annotators.masks import BoolMask, encode_mask
from pipeline.codec import ImageFormat
from pipeline.intake.admission import FileConfig, admit_sample, hash_unit
from pipeline.intake.camvid_words import CLASSES, HALF, THINGS, WHOLE
from pipeline.intake.image_files import read_image
from pipeline.intake.label_noise import Noise, noisy_candidate
from pipeline.intake.refusal import Refused
from pipeline.records import Reject, Sample, safe_id


class Config(FileConfig):
    """`path` is the folder with both kinds of files."""

    licence: str = "CC-BY-NC-4.0"
    gold_fraction: float = Field(default=0.11, ge=0, le=1)
    min_area: float = Field(default=0.01, ge=0, le=1)
    """Share of the picture that a region must cover to be asked about."""
    halves: bool = True
    """Also ask about the left and the right half, where both hold at least `min_area`."""
    noise: Noise | None = Noise()
    """None: samples are born without a candidate, for a plan with a panel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One input: a class, whole or one half of it, in the picture called `stem`."""

    id: str
    stem: str
    label: int = 0
    side: str = ""
    refused: Refused | None = None


def make(config: Config, image_format: ImageFormat = "jpg") -> "CamVid":
    """Read all class maps and list what can be asked.

    Raises:
        ValueError: there is no such folder, or no .jpg in it.
    """
    if not config.path.is_dir():
        raise ValueError(
            f"folder {config.path} does not exist; expected NAME.jpg and NAME.png files"
        )
    stems = sorted(path.stem for path in config.path.glob("*.jpg"))
    if not stems:
        raise ValueError(
            f"folder {config.path} holds no .jpg; expected NAME.jpg and NAME.png files"
        )
    return CamVid(config, image_format, stems)


class CamVid:
    """Pictures in the order of their names, classes in the order of their index."""

    def __init__(self, config: Config, image_format: ImageFormat, stems: list[str]) -> None:
        self.fills = frozenset({"candidates"} if config.noise else ())
        self._config = config
        self._image_format: ImageFormat = image_format
        self._dataset = config.dataset or "camvid"
        self._items = [item for stem in stems for item in self._list(stem)]

    def __len__(self) -> int:
        return len(self._items)

    def load(self, index: int) -> Sample | Reject:
        """The sample of a region, with its candidate, or why there is none."""
        item = self._items[index]
        try:
            if item.refused:
                raise item.refused
            return self._sample(item)
        except Refused as error:
            return Refused(error.reason, f"{item.stem}: {error.detail}").reject(item.id)

    def _sample(self, item: Item) -> Sample:
        classes = read_class_map(self._config.path / f"{item.stem}.png")
        truth = region(classes, item.label, item.side)
        style, phrasings = ask(item)
        noise, told = self._config.noise, None
        if noise is not None:
            told = noisy_candidate(
                truth,
                lambda: self._others(classes, item),
                noise,
                key=item.id,
                model="camvid-noise",
            )

        def gold(size_hw: tuple[int, int]):
            if classes.shape != size_hw:
                raise Refused("mask-size", f"class map {classes.shape}, image {size_hw} (h, w)")
            return encode_mask(truth)

        sample = admit_sample(
            read_image(self._config.path / f"{item.stem}.jpg"),
            id=item.id,
            image_format=self._image_format,
            instructions=phrasings,
            config=self._config,
            key=f"{item.stem}.jpg",
            dataset=self._dataset,
            style=style,
            gold=gold,
            extra=(
                ("class", CLASSES[item.label]),
                ("side", item.side),
                *((("noise", told[0]),) if told else ()),
            ),
        )
        return sample.fill("candidates", (told[1],)) if told else sample

    def _others(self, classes: NDArray[np.uint8], item: Item) -> list[BoolMask]:
        """Regions of the other classes in the same half that are large enough to be mistaken for the answer."""
        found = [region(classes, other, item.side) for other in range(len(CLASSES))]
        least = self._config.min_area * classes.size
        return [m for n, m in enumerate(found) if n != item.label and m.sum() >= max(least, 1)]

    def _list(self, stem: str) -> list[Item]:
        whole = safe_id(f"{self._dataset}-{stem}")
        try:
            classes = read_class_map(self._config.path / f"{stem}.png")
        except Refused as error:
            return [Item(id=whole, stem=stem, refused=error)]
        least = max(self._config.min_area * classes.size, 1)
        areas = np.bincount(classes.ravel(), minlength=len(CLASSES))
        items: list[Item] = []
        for label, name in enumerate(CLASSES):
            if name not in WHOLE or areas[label] < least:
                continue
            sides = ("left", "right") if name in HALF and self._config.halves else ()
            if areas[label] < 2 * least or not all(
                region(classes, label, side).sum() >= least for side in sides
            ):
                sides = ()
            for side in ("", *sides):
                id = safe_id(f"{self._dataset}-{stem}-{name}{'-' * bool(side)}{side}")
                items.append(Item(id=id, stem=stem, label=label, side=side))
        nothing = Refused(
            "nothing-visible", f"no class covers {self._config.min_area} of the picture"
        )
        return items or [Item(id=whole, stem=stem, refused=nothing)]


def read_class_map(path: Path) -> NDArray[np.uint8]:
    """uint8 (h, w) of indices into CLASSES.

    Raises:
        Refused: mask-missing, mask-damaged (no readable grey 8-bit PNG) or mask-class (an index too large).
    """
    try:
        data = read_image(path)
    except Refused as error:
        raise Refused(error.reason.replace("image-", "mask-"), error.detail) from error
    classes = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    if classes is None or classes.ndim != 2 or classes.dtype != np.uint8:
        raise Refused("mask-damaged", f"{path.name} is no readable grey 8-bit PNG")
    if classes.max() >= len(CLASSES):
        raise Refused(
            "mask-class", f"{path.name} holds {classes.max()}; expected 0 to {len(CLASSES) - 1}"
        )
    return np.asarray(classes, np.uint8)


def region(classes: NDArray[np.uint8], label: int, side: str = "") -> BoolMask:
    """Where the map says `label`, boolean (h, w); `side` "left" or "right" keeps that half only.

    Connected pieces of THINGS go whole to the half in which their centre lies.
    """
    mask = classes == label
    if not side:
        return mask
    middle = classes.shape[1] / 2
    if CLASSES[label] in THINGS:
        _, pieces, _, centres = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
        is_left = centres[:, 0] + 0.5 < middle
        return mask & (is_left if side == "left" else ~is_left)[pieces]
    columns = np.arange(classes.shape[1]) + 0.5
    return mask & (columns < middle if side == "left" else columns >= middle)


def ask(item: Item) -> tuple[str, tuple[str, ...]]:
    """Style and phrasings of an item; which style is decided by its id."""
    templates = (HALF if item.side else WHOLE)[CLASSES[item.label]]
    style = sorted(templates)[int(hash_unit(f"style:{item.id}") * len(templates))]
    return style, tuple(text.format(side=item.side) for text in templates[style])
