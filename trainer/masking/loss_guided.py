"""Hides what the model expects to get most wrong, easy patches at first (Hard Patches Mining, arXiv 2304.05919).

A share of what is hidden is chosen for its expected loss and the rest by chance. The share grows in a line with the
training, since what a fresh model expects says little: from 0 to a half, as we remember the paper's.
"""

from dataclasses import dataclass

from torch import Tensor

from trainer.data.chance import uniform
from trainer.masking.protocol import Patches, hidden_count, hide_highest


@dataclass(frozen=True, slots=True, kw_only=True)
class LossGuided:
    """Hides the share `ratio` of each image's patches; of these the share from `start` to `end` by expected loss."""

    ratio: float
    start: float = 0.0
    end: float = 0.5

    def bounds(self, count: int) -> tuple[int, int]:
        hidden = hidden_count(self.ratio, count)
        return hidden, hidden

    def guided(self, count: int, progress: float) -> int:
        """How many of `count` patches are hidden for their expected loss; progress: share of the training done."""
        share = self.start + (self.end - self.start) * progress
        return round(share * hidden_count(self.ratio, count))

    def __call__(self, patches: Patches) -> Tensor:
        """As the protocol says.

        Raises:
            ValueError: nobody predicts losses.
        """
        if patches.losses is None:
            raise ValueError(
                "masking.kind=loss-guided needs a model that expects losses, and this objective trains none; set "
                "objective.kind=mim, or another masking.kind"
            )
        count = patches.tokens.shape[1]
        hard = hide_highest(patches.losses, self.guided(count, patches.progress))
        drawn = uniform(patches.chance, count)
        return hide_highest(drawn + 2.0 * hard, hidden_count(self.ratio, count))
