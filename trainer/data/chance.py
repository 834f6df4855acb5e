"""Uniform numbers as a hash of (key, stream, place): chance without a generator, the same on every device.

A key is one sample's chance at one step. It is made for the global batch and taken apart with it, so what is drawn from
it does not depend on how many processes share the batch, on resuming, or on what else was drawn. The hash is SplitMix64
(Steele, Lea and Flood, OOPSLA 2014), in 64-bit integers that wrap around.
"""

import torch
from torch import Tensor

_STEP = 0x9E3779B97F4A7C15 - (1 << 64)
_FIRST = 0xBF58476D1CE4E5B9 - (1 << 64)
_SECOND = 0x94D049BB133111EB - (1 << 64)


def keys(seed: int, own: range) -> Tensor:
    """int64 b: the keys of the samples `own` of a global batch that has this seed."""
    return _mixed(_mixed(torch.tensor(seed, dtype=torch.int64)) + _STEP * torch.tensor(own))


def uniform(chance: Tensor, count: int, *, stream: int = 0) -> Tensor:
    """float32 (b, count) in [0, 1) from keys int64 b.

    Numbers of another `stream` have nothing to do with these; every use of chance has a stream of its own.
    """
    place = torch.arange(1, count + 1, device=chance.device)
    start = _mixed(chance + _signed(_STEP * (stream + 1)))
    bits = _mixed(start[:, None] + _STEP * place)
    return _shifted(bits, 40).to(torch.float32) * 2.0**-24


def _signed(x: int) -> int:
    return (x + (1 << 63)) % (1 << 64) - (1 << 63)


def _mixed(x: Tensor) -> Tensor:
    x = (x ^ _shifted(x, 30)) * _FIRST
    x = (x ^ _shifted(x, 27)) * _SECOND
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """The logical shift to the right that torch does not have: it drags the sign along."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)
