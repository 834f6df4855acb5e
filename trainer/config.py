"""Training recipes: everything that decides the bytes of a checkpoint, apart from the data and the seed."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from pipeline.config import Strict, load_recipe, recipe_hash, validate

__all__ = [
    "AugmentConfig", "DataConfig", "DiscriminateConfig", "LossConfig", "ModelConfig", "OptimConfig", "TrainRecipe",
    "WeightConfig", "load", "recipe_hash",
]  # fmt: skip


class AugmentConfig(Strict):
    """Light augmentation of a training batch; zeros turn it off."""

    hflip: float = Field(default=0.5, ge=0, le=1)
    """Probability of a mirror image; "left" and "right" in the instruction are swapped with it."""
    scale: float = Field(default=0.15, ge=0, lt=1)
    """Zoom drawn from 1 - scale to 1 + scale."""
    shift: float = Field(default=0.1, ge=0, lt=1)
    """Shift of each axis, as a share of the side, drawn from -shift to shift."""
    colour: float = Field(default=0.25, ge=0, lt=1)
    """Brightness, contrast and saturation factors drawn from 1 - colour to 1 + colour."""
    word_drop: float = Field(default=0.03, ge=0, lt=1)
    """Probability that a word reads as unknown."""


class DataConfig(Strict):
    """How samples become batches."""

    size_hw: tuple[int, int] = (48, 64)
    """Training frame in pixels, both multiples of 8; images are squashed to it."""
    batch: int = Field(default=24, ge=2)
    gold_share: float | None = Field(default=None, ge=0, le=1)
    """Share of gold samples in every batch; None takes them as they come."""
    max_words: int = Field(default=4096, ge=1)
    max_tokens: int = Field(default=24, ge=1)
    augment: AugmentConfig = AugmentConfig()


class ModelConfig(Strict):
    """Sizes of the tiny model; small enough to train on one core."""

    width: int = Field(default=24, ge=8, multiple_of=8)
    """Channels at half resolution; doubled at a quarter and an eighth."""
    dim: int = Field(default=64, ge=16, multiple_of=4)
    """Width of text tokens and of the cross-attention."""
    depth: int = Field(default=2, ge=1)
    """Two-way attention blocks."""
    heads: int = Field(default=4, ge=1)


class LossConfig(Strict):
    """Per-sample segmentation loss `bce * L_bce + dice * L_dice`."""

    bce: float = Field(default=1.0, ge=0)
    dice: float = Field(default=1.0, ge=0)


class OptimConfig(Strict):
    """AdamW with linear warm-up and a cosine to zero."""

    steps: int = Field(default=500, ge=1)
    lr: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=0.02, ge=0)
    warmup: int = Field(default=50, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)
    ema: float = Field(default=0.0, ge=0, lt=1)
    """Decay of an exponential moving average of the parameters, used for the final model; 0 keeps none."""
    checkpoint_every: int = Field(default=250, ge=1)
    log_every: int = Field(default=10, ge=1)
    max_bad_steps: int = Field(default=20, ge=0)
    """Steps with a non-finite loss or gradient that are skipped before training gives up."""


class WeightConfig(Strict):
    """Which samples count, and how much (trainer.weighting)."""

    method: Literal["uniform", "gold_only", "dwsl", "given"] = "uniform"
    f: Literal["identity", "affine", "clip", "ratio", "dwbc"] = "ratio"
    """dwsl: from p_clean to a weight (trainer.weighting.dwsl)."""
    zero_below: float = Field(default=0.0, ge=0, le=1)
    """dwsl: machine samples with p_clean below this count nothing."""
    gold_weight: float | None = Field(default=None, ge=0)
    """dwsl: weight of a gold sample; None takes what `f` gives a label that is clean for certain."""


class DiscriminateConfig(Strict):
    """The discriminator: human-quality label or not (trainer.discriminate)."""

    folds: int = Field(default=3, ge=2)
    loss: Literal["pu", "bce"] = "pu"
    eta: float = Field(default=0.5, gt=0, lt=1)
    """pu: share of good labels among the machine's, as far as one knows."""
    non_negative: bool = True
    """pu: clamp the estimated risk of the bad part at zero, so that it cannot be driven below by overfitting."""
    mismatched: float = Field(default=0.5, ge=0)
    """Weight of made-up bad labels: gold masks of other samples of the batch."""
    judged: float = Field(default=0.0, ge=0)
    """Weight of the machine's own labels of gold samples, good where their IoU with gold is at least 0.5."""
    guess: float = Field(default=1.0, ge=0)
    """Weight of the segmentation loss that teaches the discriminator's own guess; 0 gives it none."""
    f: Literal["identity", "affine", "clip", "ratio", "dwbc"] = "ratio"
    """f behind the sidecar's `weight` column; fit applies its own f to p_clean."""
    zero_below: float = Field(default=0.0, ge=0, le=1)
    optim: OptimConfig = OptimConfig()


class TrainRecipe(Strict):
    """One training recipe: `maskmix discriminate`, `fit` and `compare` all read the same file."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()
    weight: WeightConfig = WeightConfig()
    discriminate: DiscriminateConfig = DiscriminateConfig()
    threshold: float = Field(default=0.5, gt=0, lt=1)
    """Probability from which a pixel is in the predicted mask."""


def load(name_or_file: str, overrides: Sequence[str] = ()) -> TrainRecipe:
    """A training recipe by name or file, with `a.b=c` overrides, validated.

    Raises:
        ValueError: there is no such recipe, or a key or value is wrong.
    """
    raw = load_recipe(name_or_file, overrides, package="trainer.recipes")
    recipe: TrainRecipe = validate(TrainRecipe, raw, f"training recipe {name_or_file}")
    if any(side < 16 or side % 8 for side in recipe.data.size_hw):
        raise ValueError(
            f"data.size_hw: {recipe.data.size_hw}; expected multiples of 8, at least 16"
        )
    if recipe.model.dim % recipe.model.heads:
        raise ValueError(
            f"model.dim {recipe.model.dim} is no multiple of {recipe.model.heads} heads"
        )
    return recipe
