"""Which patches are hidden, and how many, as a recipe says it."""

from typing import Literal, Self

from pydantic import Field, model_validator

from pipeline.config import Strict


class MaskingConfig(Strict):
    """Which patches a model does not see while it is pre-trained (trainer.masking).

    Adaptive ratios, noise, temperature and delta are of salience; their published values are known where it says so.
    """

    kind: Literal["uniform", "salience", "threshold", "rf-gam", "coloured", "loss-guided"] = (
        "uniform"
    )
    """uniform: any. salience: what the other patches are most like (SBAM). threshold: the same without chance, likeness
    as attention has it (IMAGE). rf-gam: where the field of the most important patches is strongest (IMAGE). coloured:
    where filtered noise is high (ColorMAE). loss-guided: what the model expects to get most wrong (Hard Patches
    Mining)."""
    ratio: float = Field(default=0.75, gt=0, lt=1)
    """Share of the patches that is hidden; with `adaptive`, the middle of it."""
    normalised: bool = True
    """salience, threshold, rf-gam: likeness is the cosine of two patches; false: the product of their tokens, in
    salience as published."""
    temperature: float | None = Field(default=None, gt=0)
    """salience: what likeness is divided by. None: 0.05 for the cosine, and the published 1 for the product."""
    noise: float = Field(default=0.5, ge=0)
    """salience: chance from 0 to this is added to salience, which lies in [0, 1]. Published: 0.5."""
    adaptive: Literal["none", "image", "batch"] = "none"
    """salience: hide more where more patches are salient (AMR). image: each image by its own, as the paper says.
    batch: all of a batch alike, as the released code does."""
    spread: float = Field(default=0.10, ge=0)
    """adaptive: the ratio lies within `ratio` plus and minus this. The published value is unknown; 0.10 is what others
    took."""
    delta: float = Field(default=0.5, ge=0, le=1)
    """adaptive: a patch is salient above this. The published value is unknown; 0.5 is what others took."""
    colour: Literal["red", "green", "blue", "purple"] = "green"
    """coloured: which part of the noise's spectrum stays. red: low, blue: high, green: a band, purple: all but it."""
    sigma: float = Field(default=1.0, gt=0)
    """coloured: reach of the (narrower) Gaussian; rf-gam: reach of a source; in patches."""
    wider_sigma: float = Field(default=2.0, gt=0)
    """coloured: reach of the wider Gaussian of green and purple, in patches."""
    guided_start: float = Field(default=0.0, ge=0, le=1)
    """loss-guided: share of what is hidden that is chosen for its expected loss at the start; the rest is chance."""
    guided_end: float = Field(default=0.5, ge=0, le=1)
    """loss-guided: the same at the end; in between it grows in a line."""

    @property
    def expects_losses(self) -> bool:
        """Whether the model must say what it expects to lose on each patch."""
        return self.kind == "loss-guided"

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.adaptive != "none" and self.kind != "salience":
            raise ValueError(
                f"masking.adaptive is {self.adaptive} with masking.kind={self.kind}; ratios adapt to salience: set "
                "masking.kind=salience, or masking.adaptive=none"
            )
        low, high = self.ratio - self.spread, self.ratio + self.spread
        if self.adaptive != "none" and not (low >= -1e-9 and high <= 1 + 1e-9):
            raise ValueError(
                f"masking.ratio {self.ratio} plus and minus masking.spread {self.spread} leaves [0, 1]; lower "
                "masking.spread"
            )
        two = self.kind == "coloured" and self.colour in ("green", "purple")
        if two and self.wider_sigma <= self.sigma:
            raise ValueError(
                f"masking.wider_sigma {self.wider_sigma} is not above masking.sigma {self.sigma}; a band lies between "
                "two reaches: raise masking.wider_sigma"
            )
        if self.guided_end < self.guided_start:
            raise ValueError(
                f"masking.guided_end {self.guided_end} is below masking.guided_start {self.guided_start}; it goes from "
                "easy to hard: raise masking.guided_end"
            )
        return self
