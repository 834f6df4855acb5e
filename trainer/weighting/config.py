"""Which samples count, and how much, as a recipe says it.

Defaults are the papers' where a paper states one for its own setting; what follows from our masks or steps is ours.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.config import Strict

Method = Literal[
    "uniform", "gold_only", "dwsl", "given", "self_paced", "small_loss", "co_teaching", "co_teaching_plus", "elr",
    "gmm_split", "confident", "importance", "joint", "perfect_filter",
]  # fmt: skip


class WeightConfig(Strict):
    """Which samples count, and how much (trainer.weighting)."""

    method: Method = "uniform"
    f: Literal["identity", "affine", "clip", "ratio", "dwbc"] = "ratio"
    """dwsl, joint: from p_clean to a weight (trainer.weighting.dwsl)."""
    zero_below: float = Field(default=0.0, ge=0, le=1)
    """dwsl, joint: machine samples with p_clean below this count nothing."""
    correct: float = Field(default=0.0, ge=0)
    """dwsl: weight of a machine sample below `zero_below`, which then learns the discriminators' out-of-sample guess in
    place of its label; 0: it is left out. It pays where they guess well: measured, it helped where `guess_iou` of
    discriminator.json was 0.49 and hurt where it was 0.13."""
    gold_weight: Annotated[float, Field(ge=0)] | Literal["judged"] | None = None
    """Weight of a gold sample; None: what `f` gives a label that is clean for certain (dwsl, joint), 1 (the others).
    judged (dwsl, joint): what `f` gives its own verdict, as IVM's formula has it."""
    noise_rate: float = Field(default=0.5, ge=0, lt=1)
    """small_loss, co_teaching, importance: the share of machine labels to leave out, that is, of wrong ones."""
    forget_warmup: float = Field(default=0.1, ge=0, le=1)
    """small_loss, co_teaching: share of the training over which what is left out grows from 0 to `noise_rate`."""
    disagree_iou: float = Field(default=0.8, gt=0, le=1)
    """co_teaching_plus: peers disagree where the IoU of their masks is below this."""
    admit_start: float = Field(default=0.5, ge=0, le=1)
    """self_paced: share of machine samples admitted at the start."""
    admit_end: float = Field(default=1.0, ge=0, le=1)
    """self_paced: share admitted at the end; the paper's 1 takes the wrong labels in at last."""
    elr_lambda: float = Field(default=3.0, ge=0)
    """elr: weight of the regulariser."""
    elr_beta: float = Field(default=0.7, ge=0, lt=1)
    """elr: how much of the remembered prediction stays at every visit."""
    elr_cell: int = Field(default=4, ge=1)
    """elr: side in pixels of the training frame of a remembered cell; must divide both sides of the frame."""
    gmm_warmup: float = Field(default=0.2, ge=0, le=1)
    """gmm_split: share of the training before the first fit; weights are 1 until then."""
    gmm_every: int = Field(default=50, ge=1)
    """gmm_split: steps between fits."""
    joint_warmup: float = Field(default=0.1, ge=0, le=1)
    """joint: share of the training before the discriminator's verdicts count; weights are 1 until then."""

    @model_validator(mode="after")
    def _verdicts_are_there(self) -> Self:
        if self.gold_weight == "judged" and self.method not in ("dwsl", "joint"):
            raise ValueError(
                f"weight.gold_weight is judged and weight.method {self.method}, which asks for no verdict on gold; set "
                "weight.method=dwsl or joint, or weight.gold_weight to a number"
            )
        return self
