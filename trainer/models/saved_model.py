"""A trained segmenter as two files: model.safetensors, and model.json with what is needed to build it again.

Frozen parts are not copied: model.json says which weights they are of (path or hub id, and hash or commit), and a
model is loaded with those weights or not at all. So a model over a frozen encoder is as small as what it learnt.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from safetensors.torch import load
from torch import Tensor, nn

from trainer.config import TrainRecipe
from trainer.models.config import ModelConfig
from trainer.models.protocol import TextTokens
from trainer.models.registry import (
    build_model,
    frozen_parts,
    read_tokens,
    tokens_facts,
    with_frozen,
)
from trainer.models.tensor_files import read_pair, write_pair

STEM = "model"
TENSORS = f"{STEM}.safetensors"
FACTS = f"{STEM}.json"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SavedModel:
    """A segmenter in evaluation mode with its tokenizer, frame and threshold."""

    segmenter: nn.Module
    """A `trainer.models.protocol.MaskModel`."""
    tokenizer: TextTokens
    size_hw: tuple[int, int]
    threshold: float


def trained_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The state of a model without its frozen parameters, detached."""
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    state = model.state_dict()
    return {name: value.detach() for name, value in state.items() if name not in frozen}


def load_trained(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `trained_tensors` gave.

    Raises:
        ValueError: they are of another model.
    """
    expected = trained_tensors(model)
    if odd := sorted(expected.keys() ^ tensors.keys()):
        raise ValueError(
            f"the tensors are of another model: {len(odd)} names differ, first {odd[0]!r}"
        )
    try:
        model.load_state_dict(dict(tensors), strict=False)
    except RuntimeError as error:
        raise ValueError(f"the tensors are of another model: {error}") from error


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generator for the parameters made inside, and leave it as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def save_model(
    folder: Path, segmenter: nn.Module, *, recipe: TrainRecipe, tokenizer: TextTokens
) -> None:
    """Write both files atomically; the JSON last, with the sha256 of the tensors.

    What the model was trained from and needs no more is not named; it stands in run.json.
    """
    trained = sum(p.numel() for p in segmenter.parameters() if p.requires_grad)
    revisions = {part: named.revision for part, named in frozen_parts(recipe.model).items()}
    pinned = with_frozen(recipe.model, revisions)
    frozen = {part: asdict(named) for part, named in frozen_parts(pinned).items()}
    facts = {
        "frozen": frozen,
        "kind": "maskmix-segmenter",
        "model": pinned.model_dump(mode="json"),
        "parameters": trained,
        "parameters_frozen": sum(p.numel() for p in segmenter.parameters()) - trained,
        "size_hw": list(recipe.data.size_hw),
        "threshold": recipe.threshold,
        **tokens_facts(recipe.model, tokenizer),
    }
    write_pair(folder, STEM, trained_tensors(segmenter), facts=facts)


def read_files(folder: Path) -> tuple[dict[str, Any], bytes]:
    """What model.json says, and the bytes of the tensors, proven to belong together.

    Raises:
        ValueError: there are none, or they are damaged or do not belong together.
    """
    return read_pair(folder, STEM, expected="the folder of a finished `maskmix fit`")


def load_model(folder: Path) -> SavedModel:
    """Read a trained model.

    Raises:
        ValueError: there is none, its files are damaged or do not belong together, or the weights of its frozen parts
            are not to be had or not those that it was trained with.
    """
    facts, data = read_files(folder)
    size_hw = (int(facts["size_hw"][0]), int(facts["size_hw"][1]))
    config: Any = TypeAdapter(ModelConfig).validate_python(facts["model"])
    frozen: dict[str, Any] = facts.get("frozen", {})
    config = with_frozen(config, {part: named["revision"] for part, named in frozen.items()})
    tokenizer = read_tokens(config, facts)
    segmenter = build_model(config, tokenizer, size_hw=size_hw)
    load_trained(segmenter, load(data))
    return SavedModel(
        segmenter=segmenter.eval(),
        tokenizer=tokenizer,
        size_hw=size_hw,
        threshold=float(facts["threshold"]),
    )
