"""What a step minimises, as a recipe says it."""

from typing import Literal, Self

from pydantic import Field, model_validator

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


class CfmConfig(Strict):
    """Contrastive feature masking (trainer.objectives.cfm), and what it is compared with.

    Plain contrastive training is `reconstruct: none`, `contrast: all`, `ped: 0`. A batch is contrasted whole, so
    `optim.accumulate` stays 1.
    """

    kind: Literal["cfm"] = "cfm"
    reconstruct: Literal["none", "features", "pixels"] = "features"
    """What is predicted at hidden patches: features of the contrastive branch, pixels (a masked autoencoder beside the
    contrast), or nothing."""
    weight: float = Field(default=1.0, gt=0)
    """Of the reconstruction beside the contrast."""
    contrast: Literal["complement", "all"] = "complement"
    """Patches that are contrasted with the text: those which the reconstruction does not see, or all."""
    repeats: Literal["left_out", "negatives"] = "left_out"
    """Other samples of a batch with the same instruction or the same image: no negatives, or negatives like others."""
    ped: float = Field(default=0.5, ge=0, le=1)
    """Probability with which a sample is encoded without any positions."""
    temperature: float = Field(default=0.07, gt=0)
    """At the start; it is learnt, and stays at 0.01 or above."""
    joint_dim: int = Field(default=128, ge=2)
    """Width of the space that images and texts share."""
    text_dim: int = Field(default=96, ge=8)
    text_heads: int = Field(default=4, ge=1)
    decoder_dim: int | None = Field(default=None, ge=16, multiple_of=4)
    """Width of the decoder; None: half of the encoder's, rounded up to what its heads need."""
    decoder_depth: int = Field(default=2, ge=1)
    decoder_heads: int = Field(default=4, ge=1)

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.text_dim % self.text_heads:
            raise ValueError(f"text_dim {self.text_dim} is no multiple of {self.text_heads} heads")
        if self.decoder_dim is not None and self.decoder_dim % self.decoder_heads:
            raise ValueError(
                f"decoder_dim {self.decoder_dim} is no multiple of {self.decoder_heads} heads"
            )
        return self


class MimConfig(Strict):
    """Masked image modelling (trainer.objectives.mim)."""

    kind: Literal["mim"] = "mim"
    norm_pix: bool = True
    """Predict each patch's pixels normed to mean 0 and variance 1; false: pixels as they are, in [0, 1]."""
    decoder_dim: int | None = Field(default=None, ge=16, multiple_of=4)
    """Width of the decoder; None: half of the encoder's, rounded up to what its heads need."""
    decoder_depth: int = Field(default=2, ge=1)
    """Published for large encoders: width 512, 8 blocks, 16 heads."""
    decoder_heads: int = Field(default=4, ge=1)
    expectation: float = Field(default=1.0, gt=0)
    """Weight of the loss of what expects losses, where masking is loss-guided; it teaches nothing but its own head."""

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.decoder_dim is not None and self.decoder_dim % self.decoder_heads:
            raise ValueError(
                f"decoder_dim {self.decoder_dim} is no multiple of {self.decoder_heads} heads"
            )
        return self
