"""A folder of images, each with its instructions in a file beside it.

`NAME.txt` holds one phrasing a line (blank lines do not count); `NAME.json` holds an object with the keys of a line of
the jsonl source, save `image`. Every image under the folder is one input (which endings count:
`pipeline.intake.image_files`); `NAME.mask.png` files are gold that a .json points to. Other files are not inputs.
"""

from pathlib import Path
from typing import Any

from pipeline.codec import ImageFormat
from pipeline.intake.admission import FileConfig, admit_sample
from pipeline.intake.entry import entry_extra, entry_gold, entry_instructions, parse_entry
from pipeline.intake.image_files import duplicate, first_of_each, list_images, read_image
from pipeline.intake.refusal import Refused
from pipeline.records import Reject, Sample, safe_id


class Config(FileConfig):
    """`path` is the folder."""

    instruction: str = ""
    """For images without a file beside them; empty: those are rejected."""


def make(config: Config, image_format: ImageFormat = "jpg") -> "Folder":
    """List the images under the folder, sorted by path.

    Raises:
        ValueError: there is no such folder, or no image in it.
    """
    return Folder(config, image_format, list_images(config.path))


class Folder:
    """The images of a folder, in the order of their paths."""

    fills = frozenset[str]()

    def __init__(self, config: Config, image_format: ImageFormat, keys: list[str]) -> None:
        self._config = config
        self._image_format: ImageFormat = image_format
        self._dataset = config.dataset or config.path.resolve().name
        self._keys = keys
        self._ids = [safe_id(str(Path(key).with_suffix(""))) for key in keys]
        self._first = first_of_each(self._ids)

    def __len__(self) -> int:
        return len(self._keys)

    def load(self, index: int) -> Sample | Reject:
        """The sample of an image, or why there is none."""
        name, first = self._ids[index], self._first[index]
        if first != index:
            return duplicate(name, index, first)
        try:
            return self._sample(name, self._keys[index])
        except Refused as error:
            return Refused(error.reason, f"{self._keys[index]}: {error.detail}").reject(name)

    def _sample(self, name: str, key: str) -> Sample:
        path = self._config.path / key
        fields = self._entry(path)
        return admit_sample(
            read_image(path),
            id=name,
            image_format=self._image_format,
            instructions=entry_instructions(fields),
            config=self._config,
            key=key,
            dataset=self._dataset,
            split=fields.get("split", ""),
            licence=fields.get("licence", ""),
            url=fields.get("url", ""),
            style=fields.get("style", ""),
            gold=lambda size_hw: entry_gold(fields, path.parent, size_hw),
            extra=entry_extra(fields),
        )

    def _entry(self, image: Path) -> dict[str, Any]:
        as_text, as_json = image.with_suffix(".txt"), image.with_suffix(".json")
        if as_text.is_file() and as_json.is_file():
            raise Refused("sidecar-ambiguous", f"both {as_text.name} and {as_json.name} exist")
        if as_json.is_file():
            fields = parse_entry(as_json.read_bytes())
            for key in {"image", "id"} & set(fields):
                raise Refused(
                    "entry-unknown-key", f"{as_json.name} gives {key}, which is its own name"
                )
            return fields
        if not as_text.is_file():
            if not self._config.instruction:
                raise Refused(
                    "no-instruction", f"expected {as_text.name} or {as_json.name} beside it"
                )
            return {"instruction": self._config.instruction}
        try:
            lines = as_text.read_bytes().decode("utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise Refused(
                "instruction-not-text", f"{as_text.name} is not UTF-8: {error}"
            ) from error
        return {"instructions": [line for line in lines if line.strip()] or [""]}
