"""cleanlab's score for a segmentation label, as a baseline beside ours; needs the extra `label-quality`.

`cleanlab.segmentation.rank.get_label_quality_scores`, softmin (Lad and Mueller 2023, arXiv 2307.05080), asks a model
for class probabilities; the panel's agreement stands in for them: the share of experts that mark a pixel.
"""

from collections.abc import Sequence

import numpy as np

from annotators.masks import BoolMask
from annotators.votes import Vote

MISSING = (
    "cleanlab is not installed, so its score is left out; pip install 'maskmix[label-quality]'"
)


def has_cleanlab() -> bool:
    """Whether the extra is there."""
    from importlib.util import find_spec

    return find_spec("cleanlab") is not None


def cleanlab_score(votes: Sequence[Vote], label: BoolMask) -> float:
    """The softmin score in [0, 1], 1 = clean, of a boolean (h, w) label; without votes every pixel is background.

    Raises:
        ValueError: cleanlab is not installed.
    """
    try:
        from cleanlab.segmentation.rank import get_label_quality_scores
    except ImportError as error:
        raise ValueError(MISSING) from error

    marked = np.zeros(label.shape, np.float64)
    for vote in votes:
        marked += vote.mask / len(votes)
    marked = np.minimum(marked, 1.0)
    images, _ = get_label_quality_scores(
        label[None].astype(np.int64), np.stack([1.0 - marked, marked])[None], verbose=False
    )
    return float(np.clip(images[0], 0.0, 1.0))
