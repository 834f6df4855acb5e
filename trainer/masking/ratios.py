"""How many patches are hidden: always as many, or more of an image in which more is salient.

The latter is AMR of SBAM (arXiv 2404.08327):

    ratio = base - spread + 2 spread y,   y = the share of patches whose salience is above delta

so the ratio goes from base - spread, where nothing is salient, to base + spread, where everything is. The paper, its
page and its abstract say that each image has its own ratio; the released code takes the mean of y over a batch. Here
`per` says which. A batch is then what one process sees in one part of a step: under several processes or with
accumulation each part has its own mean, as in the released code, and what is hidden depends on how a batch was cut.

The values of base, spread and delta are not in the released code; 0.75, 0.10 and 0.5 are what a reuse of it by others
took. Of the patches that stay visible a fraction is cut off, as there.

Letters: b samples, l patches.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from trainer.masking.protocol import DIGITS, hidden_count


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedRatio:
    """The share `ratio` of the patches of every image."""

    ratio: float

    def bounds(self, count: int) -> tuple[int, int]:
        hidden = hidden_count(self.ratio, count)
        return hidden, hidden

    def counts(self, salience: Tensor) -> int:
        return hidden_count(self.ratio, salience.shape[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptiveRatio:
    """How many patches each image hides, from its salience.

    base, spread: the ratio lies in [base - spread, base + spread], within [0, 1]. delta: in [0, 1].
    """

    base: float = 0.75
    spread: float = 0.10
    delta: float = 0.5
    per: Literal["image", "batch"] = "image"

    def bounds(self, count: int) -> tuple[int, int]:
        """(fewest, most) hidden of `count`: at least one, and at least one stays visible."""
        low, high = self.base - self.spread, self.base + self.spread
        return hidden_count(max(low, 0.0), count), hidden_count(min(high, 1.0), count)

    def counts(self, salience: Tensor) -> Tensor:
        """Salience bl in [0, 1] -> int64 b, how many patches are hidden; no number is read on the host."""
        count = salience.shape[1]
        share = (salience > self.delta).sum(1).double() / count
        if self.per == "batch":
            share = share.mean(0, keepdim=True).expand_as(share)
        ratio = self.base - self.spread + 2.0 * self.spread * share
        hidden = count - torch.floor(count * (1.0 - ratio) + DIGITS).long()
        return hidden.clamp(*self.bounds(count))
