"""Random masking at a fixed ratio: the control of MAE (arXiv 2111.06377)."""

from dataclasses import dataclass

from torch import Tensor

from trainer.data.chance import uniform
from trainer.masking.protocol import Patches, hidden_count, hide_highest


@dataclass(frozen=True, slots=True, kw_only=True)
class Uniform:
    """Hides the share `ratio` of each image's patches, every set of them as likely as any other."""

    ratio: float

    def bounds(self, count: int) -> tuple[int, int]:
        hidden = hidden_count(self.ratio, count)
        return hidden, hidden

    def __call__(self, patches: Patches) -> Tensor:
        count = patches.tokens.shape[1]
        return hide_highest(uniform(patches.chance, count), hidden_count(self.ratio, count))
