"""Data selection by importance resampling: the machine samples that look most like gold, drawn once, before training.

DSIR (arXiv 2302.03169): hash the n-grams of a text into buckets, estimate the target's and the raw data's bucket
distributions, and resample the raw data without replacement by its log ratio plus Gumbel noise (Gumbel top-k). Here
gold is the target and machine samples are the raw data, and weights are 0 and 1: what is not drawn is not seen.

Ours, since a sample is more than its text: a mask's shape (area, aspect, place, how many pieces cross its box) and the
coarse colours inside and outside of it become words of their own, hashed into the same buckets. Ours too, since gold is
few: both distributions are drawn towards the one of all samples, by as many counts as there are buckets in use, so that
words which gold has not shown yet speak against a sample no more than by their number. Like every method that reads no
loss it can only tell what gold looks like, not whether a mask fits its own instruction.
"""

import zlib
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.data.protocol import Store
from trainer.data.tokens import split_words
from trainer.weighting.protocol import Context

BUCKETS = 10_000
"""As in DSIR."""
SHADES = 4
"""Levels that an area, an aspect, a place or a colour channel is told apart in."""
AT_ONCE = 256
"""Samples whose pixels are in memory together."""
EPS = 1e-6


class Importance:
    """One for gold and for the machine samples drawn, zero for the others.

    Args:
        drawn: bool n.
        gold_weight: weight of gold.
    """

    peers = 1
    reads_losses = False

    def __init__(self, *, drawn: Tensor, gold_weight: float = 1.0) -> None:
        self.drawn = drawn
        self.gold_weight = gold_weight

    def __call__(self, losses: Tensor, context: Context) -> Tensor:
        """mb losses -> mb weights."""
        self.drawn = self.drawn.to(losses.device)
        kept = self.drawn[context.rows].to(losses.dtype)
        return torch.where(context.is_gold, self.gold_weight, kept).expand_as(losses)


def resample(store: Store, *, keep: float, seed: int) -> Tensor:
    """bool n: `keep` of the machine samples, rounded, drawn by importance; a pure function of dataset and seed.

    Raises:
        ValueError: there is no gold to compare with.
    """
    is_gold, n = store.is_gold.numpy(), len(store)
    if not is_gold.any():
        raise ValueError(
            "importance: no sample has gold (role 'train'), and machine samples are chosen by their likeness to gold; "
            "build with gold, or choose another weighting"
        )
    words = [list(_text(phrasings[0])) for phrasings in store.instructions]
    for start in range(0, n, AT_ONCE):
        frames = store.frames(np.arange(start, min(start + AT_ONCE, n)))
        pixels = zip(frames.image.numpy(), frames.target.numpy(), strict=True)
        for row, (image, target) in enumerate(pixels, start=start):
            words[row] += [*_shape(target / 255.0), *_colours(image / 255.0, target / 255.0)]
    score = np.random.default_rng([seed, 3]).gumbel(size=n) + log_ratio(words, is_gold)
    machine = np.flatnonzero(~is_gold)
    best = machine[np.argsort(-score[machine], kind="stable")[: round(keep * len(machine))]]
    drawn = torch.zeros(n, dtype=torch.bool)
    drawn[torch.from_numpy(best)] = True
    return drawn


def log_ratio(words: Sequence[Sequence[str]], is_gold: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Of each sample's bag of words, the sum of log p(word | gold) - log p(word | machine): float64 n."""
    bags = [np.array([zlib.crc32(w.encode()) % BUCKETS for w in bag], np.int64) for bag in words]
    sides = [_counts(bags, side) for side in (is_gold, ~is_gold)]
    both = sides[0] + sides[1]
    used = np.count_nonzero(both)
    prior = used * both / max(both.sum(), 1.0)
    gold, machine = ((counts + prior) / (counts.sum() + used) for counts in sides)
    ratio = np.zeros(BUCKETS)
    np.log(np.divide(gold, machine, where=both > 0, out=np.ones(BUCKETS)), out=ratio)
    return np.array([ratio[bag].sum() for bag in bags])


def _counts(bags: Sequence[NDArray[np.int64]], chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How often each bucket comes up in the chosen bags: float64 BUCKETS."""
    mine = [bag for bag, is_mine in zip(bags, chosen, strict=True) if is_mine]
    every = np.concatenate([np.zeros(0, np.int64), *mine])
    return np.bincount(every, minlength=BUCKETS).astype(np.float64)


def _text(text: str) -> Iterator[str]:
    words = split_words(text)
    yield from words
    yield from (f"{a} {b}" for a, b in pairwise(words))


def _shape(mask: NDArray[np.float64]) -> Iterator[str]:
    marked = mask >= 0.5
    if not marked.any():
        yield "empty"
        return
    ys, xs = np.nonzero(marked)
    height, width = ys.max() - ys.min() + 1, xs.max() - xs.min() + 1
    yield f"area {round(SHADES * np.log10(marked.mean()))}"
    yield f"aspect {round(SHADES / 2 * np.log2(height / width))}"
    yield f"filled {_shade(marked.sum() / (height * width))}"
    yield f"place {_shade(ys.mean() / marked.shape[0])} {_shade(xs.mean() / marked.shape[1])}"
    yield f"edges {round(SHADES * np.log2(1.0 + (marked[:, 1:] != marked[:, :-1]).sum() / height))}"


def _colours(image: NDArray[np.float64], mask: NDArray[np.float64]) -> Iterator[str]:
    for name, region in (("inside", mask), ("outside", 1.0 - mask)):
        mean = (image * region).sum((1, 2)) / (region.sum() + EPS)
        for channel, value in zip("rgb", mean, strict=True):
            yield f"{name} {channel} {_shade(value)}"


def _shade(share: float) -> int:
    return min(int(share * SHADES), SHADES - 1)
