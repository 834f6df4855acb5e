"""Kinds and sizes of models, as a recipe says them."""

from pydantic import Field

from pipeline.config import Strict


class ModelConfig(Strict):
    """Sizes of the tiny model; small enough to train on one core."""

    width: int = Field(default=24, ge=8, multiple_of=8)
    """Channels at half resolution; doubled at a quarter and an eighth."""
    dim: int = Field(default=64, ge=16, multiple_of=4)
    """Width of text tokens and of the cross-attention."""
    depth: int = Field(default=2, ge=1)
    """Two-way attention blocks."""
    heads: int = Field(default=4, ge=1)
