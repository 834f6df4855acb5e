"""Sizes of a vision transformer, as a recipe says them."""

from typing import Literal, Self

from pydantic import Field, model_validator

from pipeline.config import Strict


class VitConfig(Strict):
    """An encoder (trainer.models.vit.encoder). ViT-B/16 is patch 16, dim 768, depth 12, heads 12."""

    patch: int = Field(default=8, ge=2)
    """Side of a patch in pixels; sides of the training frame are multiples of it."""
    dim: int = Field(default=96, ge=16, multiple_of=4)
    depth: int = Field(default=4, ge=1)
    heads: int = Field(default=4, ge=1)
    mlp_ratio: float = Field(default=4.0, gt=0)
    positions: Literal["fixed", "learnt"] = "fixed"
    """fixed: sines and cosines (arXiv 2111.06377). learnt: a table of `table_hw`, as in CLIP's encoders."""
    table_hw: tuple[int, int] = (14, 14)
    """Rows and columns of patches that positions were made for; other grids are interpolated from them."""

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.dim % self.heads:
            raise ValueError(f"encoder dim {self.dim} is no multiple of {self.heads} heads")
        return self
