"""Masks from filtered noise, the same for any image: the control that shows what looking at images is worth.

ColorMAE (arXiv 2407.13036) filters white noise with Gaussians and hides where the result is high. With G a Gaussian and
H a wider one, of white noise w: red G w (blobs), blue w - G w (evenly spread), green G w - H w (blobs of one size,
evenly spread), purple w - (G w - H w). The paper's widths are not in what we hold, and are options; it draws noise of
many pixels beforehand and crops masks from it, ours is drawn from each sample's chance on the grid itself.

Noise reaches beyond the grid by three of the wider sigma, and only whole Gaussians are taken: so every place has the
same spectrum and is hidden equally often, and no border wraps around. A Gaussian is the product of two, so that a
filter is two small matrix products.

Letters: b samples, r s rows and columns of the grid, l = r * s patches.
"""

from dataclasses import dataclass
from math import ceil
from typing import Literal

import torch
from torch import Tensor

from trainer.data.chance import uniform
from trainer.masking.protocol import Patches, hidden_count, hide_highest

Colour = Literal["red", "green", "blue", "purple"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ColouredNoise:
    """Hides the share `ratio` of each image's patches, where noise of a colour is highest.

    sigma, wider_sigma: of G and H, in patches; sigma < wider_sigma where H is used.
    """

    ratio: float
    colour: Colour = "green"
    sigma: float = 1.0
    wider_sigma: float = 2.0

    def bounds(self, count: int) -> tuple[int, int]:
        hidden = hidden_count(self.ratio, count)
        return hidden, hidden

    def __call__(self, patches: Patches) -> Tensor:
        noise = self.noise(patches.chance, patches.grid_hw).flatten(1)
        return hide_highest(noise, hidden_count(self.ratio, noise.shape[1]))

    def noise(self, chance: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        """Filtered noise float32 brs of mean 0, from int64 b."""
        border = ceil(3.0 * max(self.sigma, self.wider_sigma))
        r, s = (side + 2 * border for side in grid_hw)
        white = (uniform(chance, r * s) - 0.5).unflatten(1, (r, s))
        inner = white[:, border : border + grid_hw[0], border : border + grid_hw[1]]
        low = blurred(white, sigma=self.sigma, border=border)
        if self.colour == "red":
            return low
        if self.colour == "blue":
            return inner - low
        band = low - blurred(white, sigma=self.wider_sigma, border=border)
        return band if self.colour == "green" else inner - band


def blurred(noise: Tensor, *, sigma: float, border: int) -> Tensor:
    """Noise brs with a border on every side -> its Gaussian mean at the places within the border."""
    down, across = (_gaussian(n, sigma=sigma, border=border, like=noise) for n in noise.shape[1:])
    return down @ noise @ across.T


def _gaussian(length: int, *, sigma: float, border: int, like: Tensor) -> Tensor:
    """Rows of weights (length - 2 border, length) that add up to 1, each the same around its own place."""
    at = torch.arange(length, device=like.device, dtype=like.dtype)
    apart = at - at[border : length - border, None]
    weights = torch.exp(apart.square() * (-0.5 / sigma**2)) * (apart.abs() <= border)
    return weights / weights.sum(1, keepdim=True)
