"""Several sources as one, in the order given. Where a kind stands twice, its ids get the number of the part."""

from collections import Counter
from dataclasses import replace
from typing import Any

from pydantic import Field

from pipeline.config import Strict, validate
from pipeline.manifest import PanelEntry
from pipeline.records import Reject, Sample
from pipeline.registry import source_module
from pipeline.source import Source, Voted


class Config(Strict):
    """`parts` are sources as a recipe writes them: `kind` and the options of that kind."""

    parts: list[dict[str, Any]] = Field(min_length=1)


def make(config: Config, image_format: str = "jpg") -> "Concat":
    """Make every part.

    Raises:
        ValueError: a part cannot be listed, or parts are born with different fields.
    """
    kinds = Counter(str(part.get("kind")) for part in config.parts)
    parts: list[Source] = []
    prefixes: list[str] = []
    for number, part in enumerate(config.parts):
        kind = str(part.get("kind"))
        module = source_module(kind)
        options = {key: value for key, value in part.items() if key != "kind"}
        parts.append(
            module.make(validate(module.Config, options, f"source part {number}"), image_format)
        )
        prefixes.append(f"p{number}-" if kinds[kind] > 1 else "")
    return Concat(parts, prefixes)


class Concat:
    """The parts, one after another."""

    def __init__(self, parts: list[Source], prefixes: list[str]) -> None:
        if len({part.fills for part in parts}) > 1:
            raise ValueError(
                "parts of a concat source are born with different fields; build them as two datasets"
            )
        self.parts = parts
        self.prefixes = prefixes
        self.fills = parts[0].fills

    def panel(self) -> list[PanelEntry]:
        """Experts that earlier builds of the parts asked, each once."""
        every = [e for part in self.parts if isinstance(part, Voted) for e in part.panel()]
        return [entry for n, entry in enumerate(every) if entry not in every[:n]]

    def panel_size(self) -> int | None:
        """Experts that could have voted, where all parts had equally many; None otherwise."""
        sizes = {part.panel_size() if isinstance(part, Voted) else None for part in self.parts}
        return sizes.pop() if len(sizes) == 1 else None

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    def load(self, index: int) -> Sample | Reject:
        """The input at `index`, its id prefixed where needed."""
        for part, prefix in zip(self.parts, self.prefixes, strict=True):
            if index >= len(part):
                index -= len(part)
                continue
            item = part.load(index)
            if isinstance(item, Reject):
                return replace(item, sample_id=prefix + item.sample_id)
            return replace(item, id=prefix + item.id)
        raise IndexError(index)
