"""Kinds and sizes of models, as a recipe says them: `model.kind` chooses, and a recipe without it means `tiny`.

`kind` is left out of what a tiny model's recipe is dumped and hashed as, so that runs from before there were other
kinds keep their names.
"""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from pipeline.config import Strict
from trainer.models.frozen.config import FrozenImageConfig, FrozenTextConfig
from trainer.models.ivm.config import IvmConfig


class TinyConfig(Strict):
    """Sizes of the tiny model; small enough to train on one core (trainer.models.tiny.segmenter)."""

    stride: ClassVar[int] = 8
    """Sides of the training frame are multiples of this."""
    kind: Literal["tiny"] = Field(default="tiny", exclude=True)
    width: int = Field(default=24, ge=8, multiple_of=8)
    """Channels at half resolution; doubled at a quarter and an eighth."""
    dim: int = Field(default=64, ge=16, multiple_of=4)
    """Width of text tokens and of the cross-attention."""
    depth: int = Field(default=2, ge=1)
    """Two-way attention blocks."""
    heads: int = Field(default=4, ge=1)

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.dim % self.heads:
            raise ValueError(f"model.dim {self.dim} is no multiple of {self.heads} heads")
        return self


class BaseConfig(Strict):
    """Frozen SAM image encoder + frozen text encoder + trained mask decoder (trainer.models.base.model)."""

    stride: ClassVar[int] = 8
    kind: Literal["base"]
    image: FrozenImageConfig
    text: FrozenTextConfig
    depth: int = Field(default=2, ge=1)
    """Two-way blocks of the mask decoder."""
    heads: int = Field(default=8, ge=1)
    mlp: int = Field(default=2048, ge=8)
    """Inner width of the blocks' MLPs."""
    mask_tokens: int = Field(default=1, ge=1)
    cache: Literal["none", "disk"] = "none"
    """disk: the image encoder sees every photograph once, and what it makes of it is kept in
    `$MASKMIX_HOME/embeddings` (trainer.models.frozen.embeddings). Needs an augmentation that leaves pixels alone."""


def _named(raw: Any) -> Any:
    return {"kind": "tiny", **raw} if isinstance(raw, dict) else raw


ModelConfig = Annotated[
    TinyConfig | BaseConfig | IvmConfig, Field(discriminator="kind"), BeforeValidator(_named)
]
"""What stands under `model` in a recipe."""
