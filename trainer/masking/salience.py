"""SBAM: hide the patches that are like many others (arXiv 2404.08327).

    A = softmax over rows of x x^T / temperature,   S_j = sum_i A_ij,   s = (S - min S) / (max S - min S)

of the tokens x: patch embeddings with positions, before any block. Nothing is learnt here. Rows of A add up to one, so
S adds up to the number of patches, and its columns say how much the others look at a patch. The highest of s + noise u
are hidden, u uniform chance in [0, 1): with the published noise of 0.5 a patch that is more salient by that goes first.

The released form (`normalised=False`, temperature 1) has no scale, and fails an encoder that has learnt nothing; its
authors begin with one of a hundred epochs. Long tokens take the columns: of fresh encoders over photographs (widths 96
to 768, 196 patches) only 2 to 7 % of the patches were above half of the highest salience, so that masking is by chance
and an adaptive ratio stays at its lower end; 250 steps of training made it worse, one token then having up to all of
the mass. With pixels of noise A is the identity. Default are therefore cosines at temperature 0.05, ours: 56 to 61 %
of the patches of the same encoders were above the half, before and after these steps, about the middle of an adaptive
ratio, and no length decides. What counts as salient is what an image has much of: for the same encoders it goes with
little contrast (correlation -0.5 to -0.6), so smooth surfaces are hidden first.

Where all patches are alike, or each is like itself alone, S is flat; such an image is masked by chance, its salience
then being that chance. The softmax is never written down: with E = exp(similarity - row maximum) and z its row sums S
= E^T (1 / z), a product of E with one vector.

Letters: b samples, l patches, d width. Memory: one float32 bll.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor

from trainer.data.chance import uniform
from trainer.masking.attention import or_by_chance, stretched
from trainer.masking.protocol import Patches, Ratio, hide_highest


def column_sums(tokens: Tensor, *, normalised: bool, temperature: float) -> Tensor:
    """S bl float32 >= 0 of tokens bld, each row adds up to l.

    normalised: by cosines; else by products. temperature: > 0.
    """
    x = tokens.detach().float()
    if normalised:
        x = functional.normalize(x, dim=2)
    similarity = torch.bmm(x / temperature, x.transpose(1, 2))
    weights = similarity.sub_(similarity.amax(2, keepdim=True)).exp_()
    return torch.bmm(weights.sum(2).reciprocal()[:, None], weights)[:, 0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Salience:
    """Hides what is salient.

    ratio: how many patches. temperature: None stands for 0.05 of cosines and 1 of products. noise: >= 0; 0 hides just
    the most salient.
    """

    ratio: Ratio
    normalised: bool = True
    temperature: float | None = None
    noise: float = 0.5

    def bounds(self, count: int) -> tuple[int, int]:
        return self.ratio.bounds(count)

    def __call__(self, patches: Patches) -> Tensor:
        return self.told(patches)[0]

    def told(self, patches: Patches) -> tuple[Tensor, Mapping[str, Tensor]]:
        """What is hidden, and of each sample `top_share`, `salient` and `flat`.

        top_share: what the most looked at patch has of all that is looked, from 1 / l to 1; an alarm where it comes
        near 1, one patch deciding. salient: share of the patches with a salience above the half; an alarm near 0.
        flat: 1 where nothing stands out and chance decides.
        """
        count = patches.tokens.shape[1]
        drawn = uniform(patches.chance, count)
        sums = column_sums(
            patches.tokens, normalised=self.normalised, temperature=self._temperature()
        )
        stands_out = stretched(sums)
        salience = or_by_chance(stands_out, patches.chance)
        hidden = hide_highest(salience + self.noise * drawn, self.ratio.counts(salience))
        return hidden, {
            "top_share": sums.amax(1) / count,
            "salient": (salience > 0.5).float().mean(1),
            "flat": (stands_out.amax(1) == 0).float(),
        }

    def _temperature(self) -> float:
        if self.temperature is not None:
            return self.temperature
        return 0.05 if self.normalised else 1.0
