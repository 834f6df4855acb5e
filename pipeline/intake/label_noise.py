"""Spoiled masks in known shares: what careless machine labels look like, for experiments with a known truth.

At rate .49 they are 30 % of another class, 8 % the bounding box instead of the outline, 6 % shifted, 2.5 % empty and
2.5 % the whole picture; the other 51 % are the true mask. Other rates scale all shares alike.
"""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from annotators.masks import BoolMask, encode_mask
from pipeline.config import Strict
from pipeline.records import Candidate, Provenance

BELIEF = 0.5
"""Score and stability of every candidate: they must say nothing about which are right."""

SHARES: tuple[tuple[str, float], ...] = (
    ("wrong-class", 0.30), ("box", 0.08), ("shift", 0.06), ("empty", 0.025), ("full", 0.025),
)  # fmt: skip
TOTAL = 0.49


class Noise(Strict):
    """Share of spoiled masks and the seed that chooses them."""

    rate: float = Field(default=TOTAL, ge=0, le=1)
    seed: int = 0


def noisy_candidate(
    truth: BoolMask, others: Callable[[], Sequence[BoolMask]], noise: Noise, *, key: str, model: str
) -> tuple[str, Candidate]:
    """What a careless machine says where `truth`, boolean (h, w), is right: the kind of noise, and its candidate.

    Args:
        truth: the true mask; where it is empty, every spoiled answer is another thing.
        others: gives the masks that may be mistaken for it; asked only when needed.
        noise: how often, and the seed.
        key: of the sample; with the seed it decides everything.
        model: what the candidate's provenance calls the machine.
    """
    digest = hashlib.sha256(f"{noise.seed}:{key}".encode()).digest()
    generator = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    kind = pick_noise(noise.rate, generator)
    if kind != "none" and not truth.any():
        kind = "wrong-class"
    mask = spoil(kind, truth, others() if kind == "wrong-class" else [], generator)
    candidate = Candidate(
        mask=encode_mask(mask),
        phrase=0,
        proposal=None,
        mask_score=BELIEF,
        stability=BELIEF,
        made_by=Provenance(expert="simulated", model=model, score_raw=BELIEF),
    )
    return kind, candidate


def pick_noise(rate: float, generator: np.random.Generator) -> str:
    """The name of a kind of noise, or "none"."""
    drawn = float(generator.random())
    for name, share in SHARES:
        drawn -= share * rate / TOTAL
        if drawn < 0:
            return name
    return "none"


def spoil(
    kind: str, truth: BoolMask, others: Sequence[BoolMask], generator: np.random.Generator
) -> BoolMask:
    """`truth`, a boolean (h, w) with some true pixel, spoiled; `others` are the masks of other classes.

    wrong-class takes one of `others`, or everything but the truth where there are none; shift moves by 15 to 35 % of
    each side, the other way where nothing would be left.
    """
    if kind == "none":
        return truth
    if kind == "wrong-class":
        return others[int(generator.integers(len(others)))] if others else ~truth
    if kind == "box":
        rows, columns = np.flatnonzero(truth.any(axis=1)), np.flatnonzero(truth.any(axis=0))
        box = np.zeros_like(truth)
        box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
        return box
    if kind == "shift":
        steps = (generator.uniform(0.15, 0.35, 2) * truth.shape).round().astype(int)
        down, right = (int(s) for s in steps * generator.choice([-1, 1], 2))
        moves = ((down, right), (-down, right), (down, -right), (-down, -right))
        return next((m for m in (_moved(truth, *move) for move in moves) if m.any()), truth)
    assert kind in ("empty", "full"), kind
    return np.full_like(truth, kind == "full")


def _moved(mask: NDArray[np.bool_], down: int, right: int) -> BoolMask:
    height, width = mask.shape
    moved = np.zeros_like(mask)
    moved[max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = mask[
        max(-down, 0) : height + min(-down, 0), max(-right, 0) : width + min(-right, 0)
    ]
    return moved
