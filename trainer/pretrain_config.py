"""Pre-training recipes: everything that decides the bytes of an encoder, apart from the data and the seed.

They stand apart from training recipes (trainer.config), which begin where these end: at an encoder.
"""

from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import Field, model_validator

from pipeline.config import Strict, load_recipe, validate
from trainer.data.config import DataConfig
from trainer.engine.config import OptimConfig, RunConfig
from trainer.masking.config import MaskingConfig
from trainer.models.vit.config import VitConfig
from trainer.objectives.config import CfmConfig, MimConfig

PACKAGE = "trainer.recipes.pretrain"


class PretrainRecipe(Strict):
    """One pre-training recipe: what `maskmix pretrain` reads."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    data: DataConfig = DataConfig()
    encoder: VitConfig = VitConfig()
    objective: Annotated[MimConfig | CfmConfig, Field(discriminator="kind")] = MimConfig()
    masking: MaskingConfig = MaskingConfig()
    optim: OptimConfig = OptimConfig()
    run: RunConfig = Field(default_factory=RunConfig, exclude=True)

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        patch = self.encoder.patch
        if any(side < patch or side % patch for side in self.data.size_hw):
            raise ValueError(
                f"data.size_hw: {self.data.size_hw}; expected multiples of {patch}, the patch of the encoder"
            )
        if self.data.gold_share is not None:
            raise ValueError(
                "data.gold_share: no label is learnt from in pre-training, gold or not; leave it out"
            )
        if self.objective.kind == "cfm":
            if self.masking.expects_losses:
                raise ValueError(
                    f"masking.kind {self.masking.kind} is for objective.kind=mim, which says what it expects to lose"
                )
            if self.optim.accumulate > 1:
                raise ValueError(
                    f"optim.accumulate is {self.optim.accumulate}, but cfm compares all samples of a batch; set "
                    "optim.accumulate=1, and data.batch to what memory allows"
                )
        return self


def load(name_or_file: str, overrides: Sequence[str] = ()) -> PretrainRecipe:
    """A pre-training recipe by name or file, with `a.b=c` overrides, validated.

    Raises:
        ValueError: there is no such recipe, or a key or value is wrong.
    """
    raw = load_recipe(name_or_file, overrides, package=PACKAGE)
    return validate(PretrainRecipe, raw, f"pre-training recipe {name_or_file}")
