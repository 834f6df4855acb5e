"""A trained segmenter as two files: model.safetensors, and model.json with what is needed to build it again."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load, save

from pipeline.shards import write_atomic
from trainer.config import TrainRecipe
from trainer.data.tokens import Tokenizer
from trainer.models.config import ModelConfig
from trainer.models.segmenter import Segmenter

TENSORS = "model.safetensors"
FACTS = "model.json"
FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SavedModel:
    """A segmenter in evaluation mode with its tokenizer, frame and threshold."""

    segmenter: Segmenter
    tokenizer: Tokenizer
    size_hw: tuple[int, int]
    threshold: float


def build_segmenter(config: ModelConfig, tokenizer: Tokenizer) -> Segmenter:
    """A fresh segmenter; its parameters come from torch's global generator, see `seeded`."""
    return Segmenter(
        vocabulary=tokenizer.size, max_tokens=tokenizer.max_tokens, width=config.width, dim=config.dim,
        depth=config.depth, heads=config.heads,
    )  # fmt: skip


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generator for the parameters made inside, and leave it as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def save_model(
    folder: Path, segmenter: Segmenter, *, recipe: TrainRecipe, tokenizer: Tokenizer
) -> None:
    """Write both files atomically; the JSON last, with the sha256 of the tensors."""
    data = save({k: v.detach().contiguous() for k, v in sorted(segmenter.state_dict().items())})
    facts = {
        "format": FORMAT,
        "kind": "maskmix-segmenter",
        "max_tokens": tokenizer.max_tokens,
        "model": recipe.model.model_dump(mode="json"),
        "parameters": sum(p.numel() for p in segmenter.parameters()),
        "sha256": hashlib.sha256(data).hexdigest(),
        "size_hw": list(recipe.data.size_hw),
        "threshold": recipe.threshold,
        "words": list(tokenizer.words),
    }
    write_atomic(folder / TENSORS, data)
    text = json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=False)
    write_atomic(folder / FACTS, text.encode() + b"\n")


def load_model(folder: Path) -> SavedModel:
    """Read a trained model.

    Raises:
        ValueError: there is none, or its files are damaged or do not belong together.
    """
    if not (folder / FACTS).exists():
        raise ValueError(
            f"{folder} holds no {FACTS}; expected the folder of a finished `maskmix fit`"
        )
    try:
        facts = json.loads((folder / FACTS).read_bytes())
        data = (folder / TENSORS).read_bytes()
        whole = facts["format"] == FORMAT and hashlib.sha256(data).hexdigest() == facts["sha256"]
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{folder}: model files are not readable: {error!r}") from error
    if not whole:
        raise ValueError(f"{folder}: {TENSORS} is not what {FACTS} says; train again or restore it")
    tokenizer = Tokenizer(words=tuple(facts["words"]), max_tokens=facts["max_tokens"])
    segmenter = build_segmenter(ModelConfig(**facts["model"]), tokenizer)
    segmenter.load_state_dict(load(data))
    size_hw = (int(facts["size_hw"][0]), int(facts["size_hw"][1]))
    return SavedModel(
        segmenter=segmenter.eval(),
        tokenizer=tokenizer,
        size_hw=size_hw,
        threshold=float(facts["threshold"]),
    )
