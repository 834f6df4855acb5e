"""How much the patches of an image look at each patch: what both IMAGE and SBAM take a patch's importance from.

A = softmax(Q K^T / sqrt(d)) has rows that add up to one, so a row says nothing about its patch; a column says how much
the others look at it. With no attention block of its own Q and K are the tokens themselves, and nothing is learnt here.
What a whole image decides alike (a blank one) is left to chance by those who must choose.

Letters: b samples, l patches, d width of the tokens.
"""

from typing import Literal

import torch
import torch.nn.functional as functional
from torch import Tensor

from trainer.data.chance import uniform

Similarity = Literal["dot", "cosine"]
FLAT = 1e-4
"""Scores that differ by less than this share of the highest tell no patch from another: what is left is rounding."""


def attend(tokens: Tensor, *, similarity: Similarity) -> Tensor:
    """Tokens bld, any real numbers -> A float32 bll in [0, 1], each row adds up to 1: the softmax of `alike`."""
    return alike(tokens, similarity=similarity).softmax(2)


def alike(tokens: Tensor, *, similarity: Similarity) -> Tensor:
    """Tokens bld, any real numbers -> Q K^T / sqrt(d), float32 bll.

    dot: Q = K = the tokens, so long ones are looked at more; in features of a segmenter that had learnt a little these
    were people, animals and what stood out. cosine: of unit length, so that length plays no part; there what an image
    has much of was looked at most: walls, ground, sky.
    """
    tokens = tokens.detach().float()
    if similarity == "cosine":
        tokens = functional.normalize(tokens, dim=2)
    scaled = tokens * tokens.shape[2] ** -0.5
    return torch.bmm(scaled, tokens.transpose(1, 2))


def column_means(attention: Tensor) -> Tensor:
    """A bll -> bl: the mean over all other patches k of A_kj. A is spent: its diagonal is gone.

    It is taken out before the sum, since beside it the others may be too small to survive a subtraction.
    """
    attention.diagonal(dim1=1, dim2=2).zero_()
    return attention.sum(1) / max(attention.shape[1] - 1, 1)


def stretched(scores: Tensor) -> Tensor:
    """Scores bl >= 0 -> [0, 1], lowest 0 and highest 1 in each row; a flat row becomes zeros."""
    low, high = scores.aminmax(dim=1, keepdim=True)
    spread = high - low
    flat = spread <= FLAT * high
    return torch.where(
        flat, torch.zeros_like(scores), (scores - low) / torch.where(flat, 1.0, spread)
    )


def or_by_chance(scores: Tensor, chance: Tensor, *, stream: int = 0) -> Tensor:
    """Scores bl >= 0, but uniform numbers from `chance` int64 b in rows that are flat: something must be chosen."""
    low, high = scores.aminmax(dim=1, keepdim=True)
    drawn = uniform(chance, scores.shape[1], stream=stream)
    return torch.where(high - low <= FLAT * high, drawn, scores)
