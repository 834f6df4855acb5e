"""What a detector and a frozen image-text encoder say of a region, made one: open-vocabulary score fusion.

A detector knows the classes that it was taught well and others badly; a frozen encoder knows names of anything and
boxes badly. F-VLM (arXiv 2209.15639) and CFM-ViT (arXiv 2309.00775) take the geometric mean of their probabilities,
with less of the encoder for classes the detector was taught (base) than for the rest (novel):

    s_i = p_i^(1 - alpha) z_i^alpha    base        s_i = p_i^(1 - beta) z_i^beta    novel        s_0 = p_0

p is the detector's distribution with its background p_0, which the encoder has no say in; z = softmax(cosines / T).
The row is then divided by its sum. This form was read in F-VLM's published code; of CFM-ViT we hold only that the
frozen encoder's score is used, not its exponents. alpha 0.35, beta 0.65 and T 0.01 are those of DITO's published
configuration (the same authors), so they are options wherever this is used.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
ALPHA, BETA, TEMPERATURE = 0.35, 0.65, 0.01
"""DITO's; CFM-ViT's own are not known."""


def softmax(cosines: Floats, *, temperature: float) -> NDArray[np.float64]:
    """Probabilities (..., c) of cosines (..., c) over their last axis; the smaller `temperature`, the harder.

    Raises:
        ValueError: the temperature is not above 0.
    """
    if not temperature > 0.0:
        raise ValueError(
            f"temperature is {temperature}; expected a number above 0 (CLIP's is 0.01)"
        )
    logits = np.asarray(cosines, np.float64) / temperature
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


def fuse_scores(
    detector: Floats,
    encoder: Floats,
    *,
    base: NDArray[np.bool_],
    alpha: float = ALPHA,
    beta: float = BETA,
    objectness: Floats | None = None,
    objectness_power: float = 1.0,
) -> NDArray[np.float64]:
    """Fused distributions (n, c + 1) of n regions over c classes and, last, the background; rows sum to 1.

    0^0 is 1, so that exponents of 1 leave the encoder alone. A region that nothing speaks for (each class is
    impossible to one of the two, and the detector sees no background) is background.

    Args:
        detector: (n, c + 1) in [0, 1], rows sum to 1, the background last.
        encoder: (n, c) in [0, 1].
        base: (c,), True for the classes that the detector was taught.
        alpha: share of the encoder for base classes, in [0, 1].
        beta: share of the encoder for the others, in [0, 1].
        objectness: (n,) in [0, 1], how much each region is a thing at all. Rows are multiplied by its power, background
            included, and no longer sum to 1. That this comes last is ours: the order is not in what we hold.
        objectness_power: that power, 0 or more.

    Raises:
        ValueError: shapes do not fit or a number is out of its range.
    """
    p, z = np.asarray(detector, np.float64), np.asarray(encoder, np.float64)
    base = np.asarray(base)
    if z.ndim != 2 or p.shape != (len(z), z.shape[1] + 1) or base.shape != z.shape[1:]:
        raise ValueError(
            f"detector {p.shape}, encoder {z.shape}, base {base.shape}; expected (n, c + 1), (n, c) and (c,)"
        )
    check_share("alpha", alpha)
    check_share("beta", beta)
    for name, values in (("detector", p), ("encoder", z)):
        if not ((values >= 0.0) & (values <= 1.0)).all():
            raise ValueError(f"{name} has probabilities outside [0, 1], or that are no numbers")
    if not np.allclose(p.sum(axis=1), 1.0, atol=1e-6):
        raise ValueError("rows of detector do not sum to 1; expected classes and background, last")
    share = np.where(base, alpha, beta)
    fused = np.concatenate([p[:, :-1] ** (1.0 - share) * z**share, p[:, -1:]], axis=1)
    total = fused.sum(axis=1, keepdims=True)
    fused[total[:, 0] == 0.0, -1] = 1.0
    fused /= np.where(total == 0.0, 1.0, total)
    if objectness is None:
        return fused
    things = np.asarray(objectness, np.float64)
    if things.shape != p.shape[:1] or not ((things >= 0.0) & (things <= 1.0)).all():
        raise ValueError(f"objectness {things.shape}; expected ({len(p)},) numbers in [0, 1]")
    if not objectness_power >= 0.0:
        raise ValueError(f"objectness_power is {objectness_power}; expected 0 or more")
    return fused * things[:, None] ** objectness_power


def check_share(name: str, value: float) -> float:
    """Return `value` when it is in [0, 1].

    Raises:
        ValueError: it is not.
    """
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} is {value}; expected a number in [0, 1]")
    return value
