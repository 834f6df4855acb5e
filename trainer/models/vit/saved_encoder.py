"""A pre-trained encoder as two files: encoder.safetensors, and encoder.json with what it is and what it has seen.

What else was trained with it (a decoder of pixels, a text encoder) is left behind. A model over it names it by the
sha256 of its tensors (`name_encoder`), and is refused another one under the same path.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from safetensors.torch import load

from annotators.models.weights import UNKNOWN, Named
from trainer.models.tensor_files import read_facts, read_pair, write_pair
from trainer.models.vit.config import VitConfig
from trainer.models.vit.encoder import Encoder

STEM = "encoder"
FACTS = f"{STEM}.json"
KIND = "maskmix-encoder"
EXPECTED = "the folder of a finished `maskmix pretrain`"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SavedEncoder:
    """An encoder on the CPU, its sizes, and the frame h, w in pixels that it was trained at."""

    encoder: Encoder
    config: VitConfig
    size_hw: tuple[int, int]


def save_encoder(
    folder: Path,
    encoder: Encoder,
    *,
    config: VitConfig,
    size_hw: tuple[int, int],
    method: str,
    datasets: Mapping[str, Mapping[str, int]],
    recipe: Mapping[str, Any],
) -> None:
    """Write both files atomically; the JSON last, with the sha256 of the tensors.

    Args:
        folder: the run folder.
        encoder: on any device.
        config: its sizes.
        size_hw: frame that it was trained at.
        method: what it was trained by, such as mim.
        datasets: name of each data set -> licence -> how many of its inputs have it.
        recipe: the resolved recipe.
    """
    facts = {
        "datasets": {name: dict(licences) for name, licences in datasets.items()},
        "encoder": config.model_dump(mode="json"),
        "kind": KIND,
        "method": method,
        "parameters": sum(p.numel() for p in encoder.parameters()),
        "recipe": dict(recipe),
        "size_hw": list(size_hw),
    }
    write_pair(folder, STEM, encoder.state_dict(), facts=facts)


def name_encoder(folder: Path, revision: str | None = None) -> Named:
    """Which encoder lies in a folder: `revision` is `sha256:` of its tensors, which are not read.

    Raises:
        ValueError: there is none, or it is not of the revision that is asked for.
    """
    facts = _facts(read_facts(folder, STEM, expected=EXPECTED), folder)
    found = f"sha256:{facts['sha256']}"
    if revision is not None and revision != found:
        raise ValueError(
            f"the encoder in {folder} is {found}, not {revision}: it was pre-trained anew, or another one lies there; "
            "restore it, or fit again over this one"
        )
    licences = sorted({name for of in facts["datasets"].values() for name in of})
    return Named(model=str(folder), revision=found, licence=", ".join(licences) or UNKNOWN)


def read_sizes(folder: Path) -> VitConfig:
    """The sizes of the encoder in a folder; its tensors are not read.

    Raises:
        ValueError: there is none.
    """
    facts = _facts(read_facts(folder, STEM, expected=EXPECTED), folder)
    return TypeAdapter(VitConfig).validate_python(facts["encoder"])


def load_encoder(folder: Path, *, revision: str | None = None) -> SavedEncoder:
    """Read a pre-trained encoder.

    Raises:
        ValueError: there is none, its files are damaged or do not belong together, or it is not of `revision`.
    """
    name_encoder(folder, revision)
    config = read_sizes(folder)
    facts, data = read_pair(folder, STEM, expected=EXPECTED)
    encoder = Encoder(config)
    try:
        encoder.load_state_dict(load(data))
    except RuntimeError as error:
        raise ValueError(f"{folder}: the tensors are of another encoder: {error}") from error
    size_hw = (int(facts["size_hw"][0]), int(facts["size_hw"][1]))
    return SavedEncoder(encoder=encoder, config=config, size_hw=size_hw)


def _facts(facts: dict[str, Any], folder: Path) -> dict[str, Any]:
    if facts.get("kind") != KIND:
        raise ValueError(f"{folder / FACTS} is of a {facts.get('kind')!r}; expected {KIND!r}")
    return facts
