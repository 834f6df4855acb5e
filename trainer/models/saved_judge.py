"""A trained discriminator as two files: judge.safetensors, and judge.json with what is needed to build it again.

Frozen parts are named and not copied, as of any saved model (trainer.models.saved_model).
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from pydantic import TypeAdapter
from safetensors.torch import load
from torch import nn

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
from trainer.models.tensor_files import read_pair, write_pair

STEM = "judge"
TENSORS = f"{STEM}.safetensors"
FACTS = f"{STEM}.json"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SavedJudge:
    """A discriminator in evaluation mode with its tokenizer and frame."""

    judge: Judge
    tokenizer: TextTokens
    size_hw: tuple[int, int]


def save_judge(folder: Path, judge: Judge, *, recipe: TrainRecipe, tokenizer: TextTokens) -> None:
    """Write both files atomically; the JSON last, with the sha256 of the tensors."""
    facts = {
        "frozen": {part: asdict(named) for part, named in frozen_parts(recipe.model).items()},
        "kind": "maskmix-judge",
        "model": recipe.model.model_dump(mode="json"),
        "size_hw": list(recipe.data.size_hw),
        **tokens_facts(recipe.model, tokenizer),
    }
    write_pair(folder, STEM, trained_tensors(cast(nn.Module, judge)), facts=facts)


def load_judge(folder: Path) -> SavedJudge:
    """Read a trained discriminator.

    Raises:
        ValueError: there is none, its files are damaged or do not belong together, or the weights of its frozen parts
            are not those that it was trained with.
    """
    expected = "a discriminator; `maskmix discriminate --out` keeps them"
    facts, data = read_pair(folder, STEM, expected=expected)
    size_hw = (int(facts["size_hw"][0]), int(facts["size_hw"][1]))
    config: Any = TypeAdapter(ModelConfig).validate_python(facts["model"])
    frozen: dict[str, Any] = facts["frozen"]
    config = with_frozen(config, {part: named["revision"] for part, named in frozen.items()})
    tokenizer = read_tokens(config, facts)
    judge = build_discriminator(config, tokenizer, size_hw=size_hw)
    load_trained(judge, load(data))
    return SavedJudge(judge=cast(Judge, judge.eval()), tokenizer=tokenizer, size_hw=size_hw)
