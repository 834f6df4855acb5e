"""What a step minimises, as a recipe says it."""

from itertools import pairwise
from typing import Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from pipeline.config import Strict
from trainer.engine.config import OptimConfig


class LossConfig(Strict):
    """Per-sample segmentation loss `bce * L_bce + dice * L_dice`."""

    bce: float = Field(default=1.0, ge=0)
    dice: float = Field(default=1.0, ge=0)


class HideConfig(Strict):
    """What a decoder is not shown while it learns (trainer.objectives.hiding); nothing is hidden from a trained model.

    Left out of what a recipe is dumped and hashed as where it stands as it is here.
    """

    kind: Literal["none", "random", "threshold", "rf-gam"] = "none"
    """random: any patches. threshold: the most important ones. rf-gam: what lies in the light of the most important."""
    ratios: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4)
    """Share of the patches of each level of features that is hidden, or radiates, at the start: finest level first. A
    model of fewer levels takes the last ones. Published: this, and the same plus 0.1 and plus 0.2; not which wins."""
    ratio_growth: float = Field(default=0.1, ge=0, lt=1)
    """By how much every ratio has grown at the end, in a line."""
    k0: float = Field(default=0.5, ge=0, le=1)
    """Share of a hidden feature that stays at the start; it falls to 0 in a line."""
    sigma: float = Field(default=1.0, gt=0)
    """rf-gam: reach of a source, in patches."""
    soft: bool = True
    """rf-gam: hide by the strength of the field; false: hide exactly the ratio, where it is strongest."""
    similarity: Literal["dot", "cosine"] = "dot"
    """How alike patches are (trainer.masking.attention)."""
    patches: int = Field(default=64, ge=4)
    """A level of more places than this is cut into square patches of several places, at most so many."""

    @model_validator(mode="after")
    def _ratios_rise(self) -> Self:
        rises = all(a <= b for a, b in pairwise(self.ratios))
        if not self.ratios or not rises or self.ratios[0] <= 0:
            raise ValueError(
                f"hide.ratios {self.ratios}; expected shares above 0, finest level first, none below the one before"
            )
        if self.ratios[-1] + self.ratio_growth >= 1:
            raise ValueError(
                f"hide.ratios end at {self.ratios[-1]} and grow by {self.ratio_growth}; something must stay visible: "
                "lower hide.ratio_growth so that the sum is below 1"
            )
        return self


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
    guesses: bool = False
    """Also write the sidecar `NAME_guesses`: what the folds' discriminators would have drawn, out of sample, for
    `weight.correct`."""
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
    texts: Literal["sample", "photograph"] = "sample"
    """What an image is contrasted with: the instruction of a sample, or all those of its photograph as one text, of
    which the first `data.max_tokens` words are read; then photographs are drawn, each once an epoch."""
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

    @model_serializer(mode="wrap")
    def _without_samples(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A recipe that reads the texts of samples is dumped and hashed as before there was a choice."""
        kept: dict[str, Any] = dump(self)
        return {k: v for k, v in kept.items() if k != "texts" or v != "sample"}


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
