"""IVM-Mix-1M as it is published: JSON lines, and beside them a mask as JPEG for each. Zheng et al. (arXiv 2405.19783).

A line has `uuid`, `instruction` (phrasings of one instruction, or one text) and often `image` (default
`img_UUID.jpg`); its mask is `mask_UUID.jpg`. Whether people or machines drew it is said by the archive alone, so
`part` must be told. Unzip the archives first.

- human: the mask, at level 128 (JPEG blurs its levels), is gold.
- machine: grey levels are the agreement of experts, and stay: samples are born with a soft label that holds the levels
  as decoded, and with one candidate, the mask at level 128, for the stages that judge. Recipes have no fuse stage then.
  A mask without a pixel at level 128 gives no candidate: no target.

The official reader's levels (times 1.5, stretched to the full range per image) are not these: `saturate` is the first
step alone, and the second loses how many experts agreed.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from annotators.label import Label
from annotators.masks import encode_mask
from pipeline.codec import ImageFormat
from pipeline.intake.admission import FileConfig, admit_sample
from pipeline.intake.grey_masks import Fit, fit_mask, read_grey_mask, saturated
from pipeline.intake.image_files import duplicate, first_of_each, path_within, read_image
from pipeline.intake.refusal import Refused
from pipeline.records import Candidate, Provenance, Reject, Sample, safe_id

PLAIN = re.compile(r"[\w.+-]+", re.ASCII)
HALF, FIRM, FAINT = 128, 192, 64
"""Grey level at which a pixel belongs to the mask, and the levels between which a stable mask does not change."""


class Config(FileConfig):
    """`path` is the folder of one unzipped archive, or the .jsonl file in it."""

    part: Literal["human", "machine"]
    """Which archive it is: HumanLabelData, or one of RobotMachineData and VQAMachineData."""
    images: Path | None = None
    """The folder that `image` starts from (default: `images` in the folder, else the folder)."""
    masks: Path | None = None
    """The folder of mask_UUID.jpg (default: `masks` in the folder, else the folder)."""
    saturate: bool = False
    """machine: multiply levels by 1.5, so that two experts of three count as full."""
    fit: Fit = "refuse"
    """resize: scale a mask whose image has another size but the same shape, and say so in `extra`."""


def make(config: Config, image_format: ImageFormat = "jpg") -> "IvmMix":
    """List the lines.

    Raises:
        ValueError: the folder or its .jsonl is missing, there are several, it is still a .zip, or an option is for
            the other part.
    """
    if config.saturate and config.part == "human":
        raise ValueError("saturate is for part: machine; people's masks have no levels to raise")
    lines = find_lines(config.path)
    home = lines.parent
    folders = {
        "images": config.images or (home / "images" if (home / "images").is_dir() else home),
        "masks": config.masks or (home / "masks" if (home / "masks").is_dir() else home),
    }
    for name, folder in folders.items():
        if not folder.is_dir():
            raise ValueError(f"folder of {name} {folder} does not exist; set source.{name}")
    return IvmMix(config, image_format, lines, **folders)


def find_lines(path: Path) -> Path:
    """The .jsonl file at or in `path`.

    Raises:
        ValueError: there is none, or several, or it is a .zip.
    """
    if path.suffix.lower() == ".zip":
        raise ValueError(
            f"{path} is an archive; unzip it first and point source.path at the folder"
        )
    if path.is_file():
        return path
    if not path.is_dir():
        raise ValueError(f"{path} does not exist; expected the folder of one unzipped archive")
    found = sorted(path.glob("*.jsonl")) or sorted(path.glob("*.json"))
    if len(found) == 1:
        return found[0]
    names = ", ".join(file.name for file in found) or "none"
    zipped = "; unzip the .zip files first" if any(path.glob("*.zip")) else ""
    raise ValueError(
        f"{path}: expected one .jsonl file, found {names}{zipped}; point source.path at the file"
    )


class IvmMix:
    """The lines of the file, in order; only where each begins is held in memory."""

    def __init__(
        self, config: Config, image_format: ImageFormat, lines: Path, *, images: Path, masks: Path
    ) -> None:
        is_machine = config.part == "machine"
        self.fills = frozenset({"candidates", "label"} if is_machine else ())
        self._config = config
        self._image_format: ImageFormat = image_format
        self._dataset = config.dataset or f"ivm-mix-{config.part}"
        self._lines, self._images, self._masks = lines, images, masks
        self._places: list[tuple[int, int, int]] = []  # line number, where it begins, its length
        ids: list[str] = []
        at = 0
        with lines.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    self._places.append((number, at, len(line)))
                    ids.append(self._id(number, line))
                at += len(line)
        if not ids:
            raise ValueError(f"{lines} holds no line; expected one JSON object a line")
        self._ids = ids
        self._first = first_of_each(ids)

    def __len__(self) -> int:
        return len(self._ids)

    def load(self, index: int) -> Sample | Reject:
        """The sample of a line, or why there is none."""
        name, first = self._ids[index], self._first[index]
        if first != index:
            return duplicate(name, index, first)
        number, at, length = self._places[index]
        with self._lines.open("rb") as stream:
            stream.seek(at)
            line = stream.read(length)
        try:
            return self._sample(name, parse_line(line))
        except Refused as error:
            return Refused(error.reason, f"line {number}: {error.detail}").reject(name)

    def _sample(self, name: str, fields: Mapping[str, Any]) -> Sample:
        config, uuid, said = self._config, str(fields["uuid"]), fields["instruction"]
        key = fields.get("image", f"img_{uuid}.jpg")
        grey = read_grey_mask(path_within(self._masks, f"mask_{uuid}.jpg"))
        is_human = config.part == "human"
        sample = admit_sample(
            read_image(path_within(self._images, key)),
            id=name,
            image_format=self._image_format,
            instructions=said if isinstance(said, list) else [said],
            config=config,
            key=key,
            dataset=self._dataset,
            gold=lambda hw: (
                encode_mask(fit_mask(grey, hw, fit=config.fit) >= HALF) if is_human else None
            ),
            extra=(("uuid", uuid),),
        )
        if grey.shape != sample.size_hw:
            sample = replace(sample, extra=(*sample.extra, ("mask_size", list(grey.shape))))
        if is_human:
            return sample
        levels = fit_mask(grey, sample.size_hw, fit=config.fit)
        candidates, label = machine_label(saturated(levels) if config.saturate else levels)
        return sample.fill("candidates", candidates).fill("label", label)

    def _id(self, number: int, line: bytes) -> str:
        """The line's uuid, or its number where it cannot be read."""
        try:
            return safe_id(f"{self._dataset}-{parse_line(line)['uuid']}")
        except Refused:
            return safe_id(f"{self._dataset}-line-{number:07d}")


def machine_label(levels: NDArray[np.uint8]) -> tuple[tuple[Candidate, ...], Label]:
    """The candidate and the soft label in grey levels uint8 (h, w) that say how many experts agreed.

    The candidate's score is the mean level inside it, its stability the share of its faint extent that is firm.
    """
    inside = levels >= HALF
    candidates: tuple[Candidate, ...] = ()
    if inside.any():
        mean = float(levels[inside].mean())
        made_by = Provenance(expert="ivm_mix", model="IVM-Mix-1M", score_raw=mean)
        candidates = (
            Candidate(
                mask=encode_mask(inside),
                phrase=0,
                proposal=None,
                mask_score=mean / 255,
                stability=float((levels >= FIRM).sum() / (levels >= FAINT).sum()),
                made_by=made_by,
            ),
        )
    members = tuple(range(len(candidates)))
    return candidates, Label(mask=levels, kind="soft", members=members, rule="ivm_mix")


def parse_line(line: bytes) -> dict[str, Any]:
    """A JSON object with a `uuid` that can be part of a file name, an instruction, and a text as `image` if any.

    Raises:
        Refused: entry-not-json or entry-key-type.
    """
    try:
        fields = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise Refused("entry-not-json", f"{line[:80]!r}: {error}") from error
    if not isinstance(fields, dict) or not isinstance(fields.get("uuid"), str | int):
        raise Refused("entry-key-type", f"{line[:80]!r}; expected an object with uuid")
    if not PLAIN.fullmatch(str(fields["uuid"])):
        raise Refused("entry-key-type", f"uuid {fields['uuid']!r}; expected part of a file name")
    if not isinstance(fields.get("instruction"), str | list):
        raise Refused("entry-key-type", f"{line[:80]!r}; expected instruction, a text or a list")
    if not isinstance(fields.get("image", ""), str):
        raise Refused("entry-key-type", f"image is {fields['image']!r}; expected a path")
    return fields
