"""Kinds and sizes of models, as a recipe says them: `model.kind` chooses, and a recipe without it means `tiny`.

`kind` is left out of what a tiny model's recipe is dumped and hashed as, so that runs from before there were other
kinds keep their names.
"""

import math
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from pipeline.config import Strict
from trainer.models.frozen.config import FrozenImageConfig, FrozenTextConfig
from trainer.models.ivm.config import IvmConfig
from trainer.models.vit.config import VitConfig


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
    judge: Literal["mask", "composite"] = "mask"
    """What discriminators are shown of a label: the mask, beside the image and a guess of their own; or what the mask
    leaves of the image, over white."""

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


class VitModelConfig(Strict):
    """A vision transformer of our own under the tiny decoder or a linear probe (trainer.models.vit.kind)."""

    kind: Literal["vit"]
    encoder: VitConfig = VitConfig()
    """Its sizes; where they are not said, those of the pre-trained encoder."""
    pretrained: str | None = None
    """Folder of a finished `maskmix pretrain` to take the encoder from; None draws one."""
    revision: str | None = None
    """`sha256:...` that the pre-trained encoder must have."""
    train_encoder: bool = True
    """Whether the encoder learns on; if not, it is frozen, and named instead of saved (where it was pre-trained)."""
    head: Literal["decoder", "linear"] = "decoder"
    """linear: a probe of a frozen encoder (trainer.models.vit.probe); it reads `dim` alone of what follows."""
    width: int = Field(default=24, ge=8, multiple_of=8)
    """Channels at half resolution; doubled at a quarter and an eighth."""
    dim: int = Field(default=64, ge=16, multiple_of=4)
    """Width of text tokens and of the cross-attention."""
    depth: int = Field(default=2, ge=1)
    """Two-way attention blocks."""
    heads: int = Field(default=4, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _sizes_of_pretrained(cls, raw: Any) -> Any:
        if not isinstance(raw, dict) or "encoder" in raw or raw.get("pretrained") is None:
            return raw
        from trainer.models.vit.saved_encoder import read_sizes

        return {**raw, "encoder": read_sizes(Path(raw["pretrained"]).expanduser())}

    @property
    def stride(self) -> int:
        """Sides of the training frame are multiples of this."""
        return math.lcm(8, self.encoder.patch)

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.dim % self.heads:
            raise ValueError(f"model.dim {self.dim} is no multiple of {self.heads} heads")
        patch = self.encoder.patch
        if self.head == "decoder" and patch & (patch - 1):
            raise ValueError(
                f"model.encoder.patch {patch}; the decoder needs maps at 1/2, 1/4 and 1/8: expected a power of two"
            )
        if self.head == "linear" and self.train_encoder:
            raise ValueError(
                "model.head linear is a probe of a frozen encoder; set model.train_encoder=false"
            )
        if self.pretrained is None and self.revision is not None:
            raise ValueError(
                "model.revision is of a pre-trained encoder; give model.pretrained, the folder of a finished "
                "`maskmix pretrain`, or no revision"
            )
        return self


def _named(raw: Any) -> Any:
    return {"kind": "tiny", **raw} if isinstance(raw, dict) else raw


ModelConfig = Annotated[
    TinyConfig | BaseConfig | IvmConfig | VitModelConfig,
    Field(discriminator="kind"),
    BeforeValidator(_named),
]
"""What stands under `model` in a recipe."""
