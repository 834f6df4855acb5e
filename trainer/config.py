"""Training recipes: everything that decides the bytes of a checkpoint, apart from the data and the seed.

The section `run` (where it runs, what it shows) decides none, and is no part of what is hashed or kept with a run.
"""

from collections.abc import Sequence
from typing import Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from pipeline.config import Strict, load_recipe, recipe_hash, validate
from trainer.data.config import DataConfig
from trainer.engine.config import OptimConfig, RunConfig
from trainer.models.config import ModelConfig, TinyConfig
from trainer.objectives.config import DiscriminateConfig, HideConfig, LossConfig
from trainer.weighting.config import WeightConfig

__all__ = ["TrainRecipe", "load", "recipe_hash"]


LATER = (("model", "judge", "mask"), ("weight", "correct", 0.0), ("discriminate", "guesses", False))
"""(section, key, value that changes nothing) of keys that were added to sections."""


class TrainRecipe(Strict):
    """One training recipe: `maskmix discriminate`, `fit` and `compare` all read the same file."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    data: DataConfig = DataConfig()
    model: ModelConfig = TinyConfig()
    loss: LossConfig = LossConfig()
    hide: HideConfig = HideConfig()
    optim: OptimConfig = OptimConfig()
    weight: WeightConfig = WeightConfig()
    discriminate: DiscriminateConfig = DiscriminateConfig()
    threshold: float = Field(default=0.5, gt=0, lt=1)
    """Probability from which a pixel is in the predicted mask."""
    run: RunConfig = Field(default_factory=RunConfig, exclude=True)

    @model_serializer(mode="wrap")
    def _without_what_came_later(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What recipes once did not know is left out where it changes nothing: older hashes stay."""
        kept: dict[str, Any] = dump(self)
        if self.hide == HideConfig():
            del kept["hide"]
        for section, key, idle in LATER:
            if key in kept[section] and kept[section][key] == idle:
                del kept[section][key]
        return kept


def load(name_or_file: str, overrides: Sequence[str] = ()) -> TrainRecipe:
    """A training recipe by name or file, with `a.b=c` overrides, validated.

    Raises:
        ValueError: there is no such recipe, or a key or value is wrong.
    """
    raw = load_recipe(name_or_file, overrides, package="trainer.recipes")
    recipe: TrainRecipe = validate(TrainRecipe, raw, f"training recipe {name_or_file}")
    check_cache(recipe)
    stride = recipe.model.stride
    if any(side < 16 or side % stride for side in recipe.data.size_hw):
        raise ValueError(
            f"data.size_hw: {recipe.data.size_hw}; expected multiples of {stride}, at least 16"
        )
    return recipe


def check_cache(recipe: TrainRecipe) -> None:
    """Hold a recipe to what kept embeddings of photographs allow.

    Raises:
        ValueError: `model.cache` is disk, and augmentation changes pixels, of which the embeddings would know nothing.
    """
    augment = recipe.data.augment
    moves = {key: getattr(augment, key) for key in ("hflip", "scale", "shift", "colour")}
    if getattr(recipe.model, "cache", "none") == "disk" and any(moves.values()):
        said = ", ".join(f"{key}={value}" for key, value in moves.items() if value)
        raise ValueError(
            "model.cache=disk keeps what the image encoder makes of the photographs as they are, but data.augment "
            f"changes pixels ({said}); set these to 0, or model.cache=none"
        )
