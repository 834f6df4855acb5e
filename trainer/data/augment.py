"""Light augmentation of one batch, from draws that the step seeds: no state, so a resume repeats it.

Every sample has a row of uniform draws of its own, made for the whole global batch and then taken apart, and every
operation works on each sample alone, in the same order of sums: a sample comes out the same, bit for bit, in whichever
process, part of a batch and number of threads it is made.

A mirror image swaps "left" and "right" in its instruction; an instruction that cannot be swapped safely (other
scripts, where the words are not known) is never mirrored.
"""

import re
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from trainer.data.chance import keys
from trainer.data.config import AugmentConfig
from trainer.models.protocol import TextTokens

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """What chance says about b samples, uniform in [0, 1).

    phrasing, mirror, zoom: b. shift: b2. colour: b3. words: bt, for up to t tokens. keys: int64 b, for who needs chance
    on the device (trainer.data.chance).
    """

    phrasing: Tensor
    mirror: Tensor
    zoom: Tensor
    shift: Tensor
    colour: Tensor
    words: Tensor
    keys: Tensor


def draw(seed: int, *, count: int, tokens: int, own: range) -> Draws:
    """The draws of the samples `own` of a global batch of `count`, with up to `tokens` tokens each."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.rand(count, 8 + tokens, generator=generator)[list(own)]
    return Draws(
        phrasing=rows[:, 0], mirror=rows[:, 1], zoom=rows[:, 2], shift=rows[:, 3:5], colour=rows[:, 5:8],
        words=rows[:, 8:], keys=keys(seed, own),
    )  # fmt: skip


def choose_mirrors(texts: list[str], config: AugmentConfig, draws: Draws) -> Tensor:
    """bool b: which samples of a batch are mirrored."""
    return (draws.mirror < config.hflip) & torch.tensor([may_mirror(text) for text in texts])


def move(
    image: Tensor, masks: Tensor, *, mirror: Tensor, config: AugmentConfig, draws: Draws
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mirror, zoom and shift each sample: image bchw and masks bkhw -> both moved, pixel_valid b1hw, and theta b23.

    Pixels from outside the photograph are 0 in all and invalid. `theta` takes a place in what came out to the place in
    the photograph where it was, in the units of `torch.nn.functional.affine_grid` with align_corners=False.
    """
    b, _, h, w = image.shape
    zoom = 1.0 + config.scale * (2.0 * draws.zoom - 1.0)
    shift = 2.0 * config.shift * (2.0 * draws.shift - 1.0)
    theta = torch.zeros(b, 2, 3)
    theta[:, 0, 0] = torch.where(mirror, -1.0, 1.0) / zoom
    theta[:, 1, 1] = 1.0 / zoom
    theta[:, :, 2] = shift
    if config.scale == 0 and config.shift == 0:
        flip = mirror[:, None, None, None]
        moved = torch.where(flip, image.flip(3), image), torch.where(flip, masks.flip(3), masks)
        return *moved, torch.ones(b, 1, h, w), theta
    stack = torch.cat([image, masks, torch.ones(b, 1, h, w)], 1)
    stack = functional.grid_sample(stack, _grid(theta, h, w), align_corners=False)
    valid = (stack[:, -1:] > 0.999).float()
    stack = stack[:, :-1].clamp(0.0, 1.0) * valid
    return stack[:, :3], stack[:, 3:], valid, theta


def recolour(image: Tensor, config: AugmentConfig, draws: Draws) -> Tensor:
    """Brightness, contrast and saturation of each image b3hw in [0, 1], clamped to [0, 1]."""
    if config.colour == 0:
        return image
    factors = 1.0 + config.colour * (2.0 * draws.colour - 1.0)
    bright, contrast, saturation = factors.T[:, :, None, None, None]
    image = image * bright
    mean = _means(image)[:, None, None, None]
    image = mean + (image - mean) * contrast
    grey = (image[:, :1] + image[:, 1:2] + image[:, 2:]) / 3.0
    return (grey + (image - grey) * saturation).clamp(0.0, 1.0)


def drop_words(
    tokens: Tensor, tokenizer: TextTokens, *, config: AugmentConfig, draws: Draws
) -> Tensor:
    """Token ids bt with some known words made unknown; unchanged when the tokenizer has no such id."""
    if tokenizer.unknown is None:
        return tokens
    assert tokens.shape[1] <= draws.words.shape[1], (tokens.shape, draws.words.shape)
    dropped = draws.words[:, : tokens.shape[1]] < config.word_drop
    return torch.where(dropped & (tokens != tokenizer.pad), tokenizer.unknown, tokens)


def _grid(theta: Tensor, h: int, w: int) -> Tensor:
    """`affine_grid` (align_corners=False) of axis-parallel theta b23, bhw2, without its matrix product.

    A matrix product may sum in another order for another b.
    """
    x = (2.0 * torch.arange(w) + 1.0) / w - 1.0
    y = (2.0 * torch.arange(h) + 1.0) / h - 1.0
    across = theta[:, 0, 0, None] * x + theta[:, 0, 2, None]
    down = theta[:, 1, 1, None] * y + theta[:, 1, 2, None]
    b = len(theta)
    return torch.stack([across[:, None, :].expand(b, h, w), down[:, :, None].expand(b, h, w)], 3)


def _means(image: Tensor) -> Tensor:
    """float32 b, the mean of each image bchw; numpy's sums, as torch's depend on b and on the threads."""
    flat = np.ascontiguousarray(image.numpy()).reshape(len(image), -1)
    return torch.from_numpy(flat.mean(1))
