"""Light augmentation of one batch, drawn from a generator that the step seeds: no state, so a resume repeats it.

A mirror image swaps "left" and "right" in its instruction; an instruction that cannot be swapped safely (other
scripts, where the words are not known) is never mirrored.
"""

import re

import torch
import torch.nn.functional as functional
from torch import Tensor

from trainer.data.config import AugmentConfig
from trainer.data.tokens import FIRST_WORD, UNKNOWN

SIDES = {"left": "right", "right": "left"}
SIDE = re.compile(r"left|right", re.IGNORECASE)


def swap_sides(text: str) -> str:
    """Exchange left and right, also inside words such as "leftmost"; case is kept.

    >>> swap_sides("The Leftmost mug, right of the bowl")
    'The Rightmost mug, left of the bowl'
    """

    def other(match: re.Match[str]) -> str:
        word = match.group()
        swapped = SIDES[word.lower()]
        return (
            swapped.upper() if word.isupper() else swapped.title() if word[0].isupper() else swapped
        )

    return SIDE.sub(other, text)


def may_mirror(text: str) -> bool:
    """Whether `swap_sides` can be trusted with a text: ASCII letters only."""
    return text.isascii()


def draw_mirrors(texts: list[str], config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """bool b: which samples of a batch are mirrored."""
    drawn = torch.rand(len(texts), generator=generator) < config.hflip
    return drawn & torch.tensor([may_mirror(text) for text in texts])


def move(
    image: Tensor,
    masks: Tensor,
    *,
    mirror: Tensor,
    config: AugmentConfig,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mirror, zoom and shift each sample: image bchw and masks bkhw -> both moved, pixel_valid b1hw, and theta b23.

    Pixels from outside the photograph are 0 in all and invalid. `theta` takes a place in what came out to the place in
    the photograph where it was, in the units of `torch.nn.functional.affine_grid` with align_corners=False.
    """
    b, _, h, w = image.shape
    zoom = 1.0 + config.scale * (2.0 * torch.rand(b, generator=generator) - 1.0)
    shift = 2.0 * config.shift * (2.0 * torch.rand(b, 2, generator=generator) - 1.0)
    theta = torch.zeros(b, 2, 3)
    theta[:, 0, 0] = torch.where(mirror, -1.0, 1.0) / zoom
    theta[:, 1, 1] = 1.0 / zoom
    theta[:, :, 2] = shift
    if config.scale == 0 and config.shift == 0:
        flip = mirror[:, None, None, None]
        moved = torch.where(flip, image.flip(3), image), torch.where(flip, masks.flip(3), masks)
        return *moved, torch.ones(b, 1, h, w), theta
    grid = functional.affine_grid(theta, [b, 1, h, w], align_corners=False)
    stack = torch.cat([image, masks, torch.ones(b, 1, h, w)], 1)
    stack = functional.grid_sample(stack, grid, align_corners=False)
    valid = (stack[:, -1:] > 0.999).float()
    stack = stack[:, :-1].clamp(0.0, 1.0) * valid
    return stack[:, :3], stack[:, 3:], valid, theta


def recolour(image: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Brightness, contrast and saturation of each image b3hw in [0, 1], clamped to [0, 1]."""
    if config.colour == 0:
        return image
    draws = 1.0 + config.colour * (
        2.0 * torch.rand(3, image.shape[0], 1, 1, 1, generator=generator) - 1.0
    )
    image = image * draws[0]
    mean = image.mean((1, 2, 3), keepdim=True)
    image = mean + (image - mean) * draws[1]
    grey = image.mean(1, keepdim=True)
    return (grey + (image - grey) * draws[2]).clamp(0.0, 1.0)


def drop_words(tokens: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Token ids bt with some known words made unknown."""
    dropped = torch.rand(tokens.shape, generator=generator) < config.word_drop
    return torch.where(dropped & (tokens >= FIRST_WORD), UNKNOWN, tokens)
