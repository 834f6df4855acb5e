"""How samples become batches, as a recipe says it."""

from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from pipeline.config import Strict


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

    fraction: float = Field(default=1.0, gt=0, le=1)
    """Learn from this share of the photographs, gold and machine alike; a smaller share is part of every larger one
    (trainer.data.fraction). The weights sidecar and the words of the tiny model are those of the whole dataset."""
    size_hw: tuple[int, int] = (48, 64)
    """Training frame in pixels, both multiples of 8; images are squashed to it."""
    batch: int = Field(default=24, ge=2)
    gold_share: float | None = Field(default=None, ge=0, le=1)
    """Share of gold samples in every batch; None takes them as they come."""
    max_words: int = Field(default=4096, ge=1)
    max_tokens: int = Field(default=24, ge=1)
    lanes: int | None = Field(default=None, ge=1)
    """Streams that an epoch is dealt to (trainer.data.order); every number of processes that divides it sees the same
    batches. None: as many as there are processes."""
    window: int = Field(default=16, ge=1)
    """Neighbouring shards of a lane that are shuffled together."""
    augment: AugmentConfig = AugmentConfig()
    cache: Literal["memory", "shards", "auto"] = Field(default="auto", exclude=True)
    """Where pixels come from: all decoded into memory first, or from the shards as they are needed; auto: memory when
    they take at most memory_mb. Decides no byte of a batch, so neither is part of the resolved recipe or its hash."""
    memory_mb: int = Field(default=4096, ge=0, exclude=True)

    @model_serializer(mode="wrap")
    def _without_whole(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A recipe that learns from everything is dumped and hashed as before there was a share."""
        kept: dict[str, Any] = dump(self)
        return {k: v for k, v in kept.items() if k != "fraction" or v != 1.0}
