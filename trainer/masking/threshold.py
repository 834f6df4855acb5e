"""Hides what matters most: the patches of highest importance (IMAGE's plainer variant, arXiv 2410.03161).

Salient patches are the ones that go, so that a model learns to do without them. The paper's text that we hold names
the prior (how much a patch correlates with all others) and neither its formula nor whether lengths count; ours is the
column mean of trainer.masking.attention.
"""

from dataclasses import dataclass

from torch import Tensor

from trainer.masking.attention import Similarity, attend, column_means, or_by_chance
from trainer.masking.protocol import Patches, hidden_count, hide_highest


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """Hides the share `ratio` of each image's patches that the others look at most; of a blank image any."""

    ratio: float
    similarity: Similarity = "dot"

    def bounds(self, count: int) -> tuple[int, int]:
        hidden = hidden_count(self.ratio, count)
        return hidden, hidden

    def __call__(self, patches: Patches) -> Tensor:
        scores = column_means(attend(patches.tokens, similarity=self.similarity))
        hidden = hidden_count(self.ratio, scores.shape[1])
        return hide_highest(or_by_chance(scores, patches.chance), hidden)
