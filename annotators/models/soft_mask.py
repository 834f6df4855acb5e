"""A soft mask (a probability for each pixel) cut to a candidate: how models that answer phrases in one step end.

`score_raw` and `mask_score` are the mean probability inside the mask; `stability` is the IoU of the masks cut at
`threshold` plus and minus `spread`, as Segment Anything defines it (arXiv 2304.02643, section 5).
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from annotators.candidate import Candidate, Provenance
from annotators.masks import encode_mask


def check_cut(expert: str, *, threshold: float, spread: float) -> None:
    """Hold a threshold and its spread to probabilities.

    Raises:
        ValueError: one end of the range is not inside (0, 1), or the spread is negative.
    """
    if not (spread >= 0.0 and threshold - spread > 0.0 and threshold + spread < 1.0):
        raise ValueError(
            f"expert {expert!r}: mask_threshold {threshold} with spread {spread}; expected both "
            "mask_threshold - spread and mask_threshold + spread inside (0, 1)"
        )


def cut(
    values: NDArray[np.floating],
    *,
    threshold: float,
    spread: float,
    phrase: int,
    made_by: Provenance,
) -> list[Candidate]:
    """The candidate of one soft mask, none where no pixel reaches the threshold.

    Args:
        values: (h, w) in [0, 1], at the size of the picture.
        threshold: a pixel is in the mask when its probability is at least this, in (0, 1).
        spread: how far the threshold is moved to measure stability.
        phrase: index of the phrase that was asked.
        made_by: whose it is; gets the raw score.
    """
    mask = values >= threshold
    if not mask.any():
        return []
    sure = float(values[mask].mean(dtype=np.float64))
    wide = np.count_nonzero(values >= threshold - spread)
    narrow = np.count_nonzero(values >= threshold + spread)
    return [
        Candidate(
            mask=encode_mask(mask),
            phrase=phrase,
            proposal=None,
            mask_score=min(1.0, sure),
            stability=float(narrow / wide),
            made_by=replace(made_by, score_raw=sure),
        )
    ]
