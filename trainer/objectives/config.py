"""What a step minimises, as a recipe says it."""

from typing import Literal

from pydantic import Field

from pipeline.config import Strict
from trainer.engine.config import OptimConfig


class LossConfig(Strict):
    """Per-sample segmentation loss `bce * L_bce + dice * L_dice`."""

    bce: float = Field(default=1.0, ge=0)
    dice: float = Field(default=1.0, ge=0)


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
    confident: bool = False
    """Also write the sidecar `confident`: labels that the folds' guesses contradict (measure.confident_issues)."""
    confident_share: float = Field(default=0.5, gt=0, lt=1)
    """confident: a label is an issue where more than this of what it and the guess mark is labelled wrongly."""
    optim: OptimConfig = OptimConfig()
