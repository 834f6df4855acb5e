"""Frozen parts of models, as a recipe says them: which weights, and how exactly they are run."""

from typing import Literal

from pydantic import Field

from pipeline.config import Strict


class FrozenImageConfig(Strict):
    """The frozen image encoder: SAM's."""

    model: str
    """A .pth file of segment-anything, a folder of transformers (`SamModel`), or the hub id of one."""
    revision: str | None = None
    """Commit of the hub, or `sha256:...` that local files must have."""
    side: int | None = Field(default=None, ge=16)
    """Pixels of its square input, to which every frame is squashed; None is what it was trained with, 1024."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of its products; auto is bfloat16 where there is a CUDA device, else float32."""
    embedding: Literal["float16", "float32"] = "float16"
    """What an embedding is rounded to, whether it comes from the cache or not: so the cache changes no number."""
    compile: bool = False
    """Give its blocks to torch.compile; takes a minute at the first batch."""


class FrozenTextConfig(Strict):
    """The frozen text encoder: CLIP's or T5's, with its own tokenizer."""

    model: str
    """A folder of transformers (clip, clip_text_model or t5), or the hub id of one."""
    revision: str | None = None
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Auto is bfloat16 where there is a CUDA device, else float32. T5 overflows in float16."""
