"""Filtered noise: the filters, their spectra, and that no place is better off than another."""

import pytest
import torch
from torch import Tensor

from trainer.data.chance import keys, uniform
from trainer.masking.coloured_noise import Colour, ColouredNoise
from trainer.masking.protocol import Patches

COLOURS: tuple[Colour, ...] = ("red", "green", "blue", "purple")


def noise(colour: Colour, *, b: int = 400, side: int = 14) -> Tensor:
    return ColouredNoise(ratio=0.5, colour=colour).noise(keys(0, range(b)), (side, side))


def test_a_filter_is_a_sum_of_gaussian_weights_over_white_noise():
    masking = ColouredNoise(ratio=0.5, colour="green", sigma=0.8, wider_sigma=1.5)
    ours, border = masking.noise(keys(3, range(2)), (3, 4)), 5
    white = (uniform(keys(3, range(2)), 13 * 14) - 0.5).unflatten(1, (13, 14))
    at = torch.arange(-border, border + 1.0)
    for y in range(3):
        for x in range(4):
            near = white[:, y : y + 11, x : x + 11]
            bands = []
            for sigma in (0.8, 1.5):
                g = torch.exp(-(at[:, None] ** 2 + at[None] ** 2) / (2 * sigma**2))
                bands.append((near * g / g.sum()).sum((1, 2)))
            torch.testing.assert_close(ours[:, y, x], bands[0] - bands[1], rtol=1e-4, atol=1e-6)


def test_each_colour_keeps_its_part_of_the_spectrum():
    power = {c: torch.fft.fft2(noise(c)).abs().square().mean(0)[0, :8] for c in COLOURS}
    share = {c: p[1:] / p[1:].sum() for c, p in power.items()}
    low, high = slice(0, 2), slice(5, 7)
    assert share["red"][low].sum() > 0.8
    assert share["blue"][high].sum() > 0.4 > share["blue"][low].sum() * 4
    assert int(share["green"].argmax()) in (1, 2)
    assert share["green"][high].sum() < 0.1
    assert int(share["purple"].argmin()) in (1, 2)


def test_low_frequencies_hide_blobs_and_high_ones_single_patches():
    def alike(colour: Colour) -> float:
        """How often a patch shares the fate of its right neighbour."""
        chance = keys(0, range(400))
        asked = Patches(tokens=torch.zeros(400, 196, 1), grid_hw=(14, 14), chance=chance)
        hidden = ColouredNoise(ratio=0.5, colour=colour)(asked).unflatten(1, (14, 14))
        return float((hidden[:, :, 1:] == hidden[:, :, :-1]).float().mean())

    assert alike("red") > alike("green") > 0.6 > 0.5 > alike("blue")


@pytest.mark.parametrize("colour", COLOURS)
def test_every_place_is_hidden_equally_often(colour: Colour):
    asked = Patches(tokens=torch.zeros(4000, 48, 1), grid_hw=(6, 8), chance=keys(0, range(4000)))
    often = ColouredNoise(ratio=0.75, colour=colour)(asked).float().mean(0)
    assert (often - 0.75).abs().max() < 0.045
