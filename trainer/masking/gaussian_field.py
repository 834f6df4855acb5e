"""RF-GAM: important patches radiate, and what lies in their light is hidden (IMAGE, arXiv 2410.03161).

The K most important patches are sources of a field

    R(x, y) = sum_j I_j exp(-((x - x_j)^2 + (y - y_j)^2) / (2 sigma^2)),

and the strength of the mask is R / max R: 1 at the peak, decaying smoothly with the distance. A place keeps the share
1 - (1 - k) * strength of its features, where k goes from k0 = 0.5 to 0 while training goes on. Of this the paper's
summary that we hold gives the idea, the Gaussians and k's schedule. Which patches are sources (ours: as many as the
mask ratio says), the normalisation by max R, sigma (ours: in patches, 1), and that k is what stays visible at the peak
are unspecified there; ours is the one reading under which k falls while masking grows harder.

A Gaussian of two axes is the product of two, so the field is never summed source by source: with Gy[j, y] and Gx[j, x]
it is (I * Gy)^T Gx, and for sources on the grid Gy S Gx^T, where S holds their importance at their places.

Letters: b samples, r s rows and columns of the grid, l = r * s, k sources, h w rows and columns of places.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from trainer.masking.attention import (
    FLAT,
    Similarity,
    attend,
    column_means,
    or_by_chance,
)
from trainer.masking.protocol import Patches, hidden_count, hide_highest

FAR = -80.0
"""Exponents go no lower: exp(-80) is 2e-35, and a CPU takes six times as long where exp runs out of digits."""


def gaussians(at: Tensor, of: Tensor, *, sigma: float) -> Tensor:
    """exp(-(x - x_j)^2 / (2 sigma^2)) at places (n,) of sources (..., k): (..., k, n), in one axis; sigma > 0."""
    return torch.exp(((at - of[..., None]).square() * (-0.5 / sigma**2)).clamp(min=FAR))


@lru_cache(maxsize=64)
def grid_gaussians(n: int, sigma: float, device: torch.device) -> Tensor:
    """Gaussians nn between the n patches of one axis: float32, the same at every step and not to be changed."""
    with torch.inference_mode(False), torch.no_grad():
        at = torch.arange(n, device=device, dtype=torch.float32)
        return gaussians(at, at, sigma=sigma)


def field(
    importance: Tensor, y: Tensor, x: Tensor, *, size_hw: tuple[int, int], sigma: float
) -> Tensor:
    """The field of sources that lie anywhere, at every whole place of a frame: R >= 0, bhw.

    importance, y, x: bk, y and x in places (0 is the first row or column), like sigma.
    """
    rows, columns = (torch.arange(n, device=y.device, dtype=y.dtype) for n in size_hw)
    weighted = gaussians(rows, y, sigma=sigma) * importance[:, :, None]
    return torch.bmm(weighted.transpose(1, 2), gaussians(columns, x, sigma=sigma))


def grid_field(sources: Tensor, *, sigma: float) -> Tensor:
    """The field of sources at patches, at the patches: sources brs hold I_j there and 0 elsewhere -> R >= 0, brs."""
    r, s = sources.shape[1:]
    down, across = (grid_gaussians(n, sigma, sources.device) for n in (r, s))
    return down @ (sources @ across)


def normalised(radiance: Tensor) -> Tensor:
    """R bhw -> strength R / max R in [0, 1], each image by its own peak; no source, no strength."""
    peak = radiance.amax((1, 2), keepdim=True)
    return radiance / peak.clamp(min=torch.finfo(peak.dtype).tiny)


def lit(scores: Tensor, sources: int | Tensor, *, grid_hw: tuple[int, int], sigma: float) -> Tensor:
    """Strength bl in [0, 1] of the field of the `sources` highest (an int, or int64 b) of scores bl >= 0 on a grid.

    Importance is the score above the lowest one; to stretch it to [0, 1] would be lost to max R. Zeros for a row that
    tells no patch from another: nothing radiates.
    """
    low, high = scores.aminmax(dim=1, keepdim=True)
    chosen = hide_highest(scores, sources) & (high - low > FLAT * high)
    radiating = ((scores - low) * chosen).unflatten(1, grid_hw)
    return normalised(grid_field(radiating, sigma=sigma)).flatten(1)


def residual(progress: float, *, k0: float = 0.5) -> float:
    """k = k0 (1 - progress): what stays visible at a peak. progress: share of the training already done, in [0, 1].

    The paper counts epochs, e / E; ours is the step over the steps, so the first step has k0 and the last k0 / steps.
    """
    return k0 * (1.0 - progress)


def visibility(strength: Tensor, *, k: float) -> Tensor:
    """1 - (1 - k) * strength: the share of a feature that stays, in [k, 1]."""
    return 1.0 - (1.0 - k) * strength


@dataclass(frozen=True, slots=True, kw_only=True)
class GaussianField:
    """RF-GAM with the share `ratio` of the patches as sources.

    sigma: in patches; near 0 a source hides its own patch only, and a large one hides everything alike.
    """

    ratio: float
    sigma: float = 1.0
    similarity: Similarity = "dot"

    def bounds(self, count: int) -> tuple[int, int]:
        hidden = hidden_count(self.ratio, count)
        return hidden, hidden

    def strength(self, patches: Patches) -> Tensor:
        """float32 bl in [0, 1]; zeros for a blank image."""
        scores = column_means(attend(patches.tokens, similarity=self.similarity))
        sources = hidden_count(self.ratio, scores.shape[1])
        return lit(scores, sources, grid_hw=patches.grid_hw, sigma=self.sigma)

    def __call__(self, patches: Patches) -> Tensor:
        """The patches that lie deepest in the field; of a blank image any."""
        strength = self.strength(patches)
        hidden = hidden_count(self.ratio, strength.shape[1])
        return hide_highest(or_by_chance(strength, patches.chance), hidden)
