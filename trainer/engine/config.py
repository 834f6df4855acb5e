"""How long, how fast and how exactly a model is trained, as a recipe says it."""

from pydantic import Field

from pipeline.config import Strict


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
