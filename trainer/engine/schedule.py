"""The learning rate: a linear warm-up, then a cosine to zero; a pure function of the step."""

import math


def learning_rate(step: int, *, steps: int, peak: float, warmup: int) -> float:
    """The rate at `step` in 0..steps-1.

    >>> learning_rate(0, steps=100, peak=1.0, warmup=10), learning_rate(9, steps=100, peak=1.0, warmup=10)
    (0.1, 1.0)
    """
    warmup = min(warmup, steps // 2)
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
