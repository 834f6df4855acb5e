"""A trained discriminator as two files: judge.safetensors, and judge.json with what is needed to build it again.

Frozen parts are named and not copied, as of any saved model (trainer.models.saved_model).
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from pydantic import TypeAdapter
from safetensors.torch import load, save
from torch import nn

from pipeline.shards import write_atomic
from trainer.config import TrainRecipe
from trainer.models.config import ModelConfig
from trainer.models.judge import Judge
from trainer.models.protocol import TextTokens
from trainer.models.registry import (
    build_discriminator,
    frozen_parts,
    read_tokens,
    tokens_facts,
    with_frozen,
)
from trainer.models.saved_model import load_trained, trained_tensors

TENSORS = "judge.safetensors"
FACTS = "judge.json"
FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SavedJudge:
    """A discriminator in evaluation mode with its tokenizer and frame."""

    judge: Judge
    tokenizer: TextTokens
    size_hw: tuple[int, int]


def save_judge(folder: Path, judge: Judge, *, recipe: TrainRecipe, tokenizer: TextTokens) -> None:
    """Write both files atomically; the JSON last, with the sha256 of the tensors."""
    tensors = trained_tensors(cast(nn.Module, judge))
    data = save({k: v.cpu().contiguous() for k, v in sorted(tensors.items())})
    facts = {
        "format": FORMAT,
        "frozen": {part: asdict(named) for part, named in frozen_parts(recipe.model).items()},
        "kind": "maskmix-judge",
        "model": recipe.model.model_dump(mode="json"),
        "sha256": hashlib.sha256(data).hexdigest(),
        "size_hw": list(recipe.data.size_hw),
        **tokens_facts(recipe.model, tokenizer),
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / TENSORS, data)
    text = json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=False)
    write_atomic(folder / FACTS, text.encode() + b"\n")


def load_judge(folder: Path) -> SavedJudge:
    """Read a trained discriminator.

    Raises:
        ValueError: there is none, its files are damaged or do not belong together, or the weights of its frozen parts
            are not those that it was trained with.
    """
    try:
        facts: dict[str, Any] = json.loads((folder / FACTS).read_bytes())
        data = (folder / TENSORS).read_bytes()
        whole = facts["format"] == FORMAT and hashlib.sha256(data).hexdigest() == facts["sha256"]
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"{folder} holds no readable discriminator ({error!r}); `maskmix discriminate --out` keeps them"
        ) from error
    if not whole:
        raise ValueError(f"{folder}: {TENSORS} is not what {FACTS} says; train again or restore it")
    size_hw = (int(facts["size_hw"][0]), int(facts["size_hw"][1]))
    config: Any = TypeAdapter(ModelConfig).validate_python(facts["model"])
    frozen: dict[str, Any] = facts["frozen"]
    config = with_frozen(config, {part: named["revision"] for part, named in frozen.items()})
    tokenizer = read_tokens(config, facts)
    judge = build_discriminator(config, tokenizer, size_hw=size_hw)
    load_trained(judge, load(data))
    return SavedJudge(judge=cast(Judge, judge.eval()), tokenizer=tokenizer, size_hw=size_hw)
