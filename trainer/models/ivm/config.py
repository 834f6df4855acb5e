"""The kind `ivm` as a recipe says it; the defaults are the published model's (arXiv 2405.19783, released code)."""

from typing import ClassVar, Literal

from pydantic import Field

from pipeline.config import Strict
from trainer.models.frozen.config import FrozenImageConfig


class FrozenLmmConfig(Strict):
    """The frozen language model that sees: LLaVA-1.5."""

    model: str
    """A folder of transformers (llava) with its processor, or the hub id of one: llava-hf/llava-1.5-7b-hf."""
    revision: str | None = None
    """Commit of the hub, or `sha256:...` that local files must have."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of its weights; auto is bfloat16 where there is a CUDA device, else float32. Adapters are float32 always."""
    checkpointing: bool = True
    """Compute activations inside the layers again in the backward pass: a third more work, a fraction of the memory."""


class LoraConfig(Strict):
    """The trained low-rank updates of q_proj and v_proj in the language model."""

    rank: int = Field(default=8, ge=1)
    alpha: int = Field(default=16, ge=1)
    dropout: float = Field(default=0.05, ge=0, lt=1)


class IvmConfig(Strict):
    """Frozen LLaVA with a LoRA + frozen SAM image encoder + trained projector and decoder (`model` beside this)."""

    stride: ClassVar[int] = 8
    kind: Literal["ivm"]
    image: FrozenImageConfig
    lmm: FrozenLmmConfig
    lora: LoraConfig = LoraConfig()
    projector: int = Field(default=2048, ge=1)
    """Inner width of the MLP from the language model to the decoder."""
    depth: int = Field(default=2, ge=1)
    """Two-way blocks of the mask decoder."""
    heads: int = Field(default=8, ge=1)
    mlp: int = Field(default=2048, ge=8)
    """Inner width of the blocks' MLPs."""
    mask_tokens: int = Field(default=1, ge=1)
    published: str | None = None
    """Path of IVM-V1.0.bin, to go on from the published parameters instead of drawn ones."""
    discriminator: Literal["composite", "light"] = "composite"
    """composite: the language model judges the masked image, with a LoRA of its own. light: a small head on SAM's
    features and a guess."""
    judge: int = Field(default=1024, ge=1)
    """composite: inner width of the verdict's MLP."""
    cache: Literal["none", "disk"] = "none"
    """disk: keep what SAM makes of every photograph (frozen.embeddings); LLaVA sees them at every step."""
