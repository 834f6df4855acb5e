"""Which samples count, and how much, as a recipe says it."""

from typing import Literal

from pydantic import Field

from pipeline.config import Strict


class WeightConfig(Strict):
    """Which samples count, and how much (trainer.weighting)."""

    method: Literal["uniform", "gold_only", "dwsl", "given"] = "uniform"
    f: Literal["identity", "affine", "clip", "ratio", "dwbc"] = "ratio"
    """dwsl: from p_clean to a weight (trainer.weighting.dwsl)."""
    zero_below: float = Field(default=0.0, ge=0, le=1)
    """dwsl: machine samples with p_clean below this count nothing."""
    gold_weight: float | None = Field(default=None, ge=0)
    """dwsl: weight of a gold sample; None takes what `f` gives a label that is clean for certain."""
