"""One label out of several: judges say what each is worth, and the one in place stays unless another is clearly better.

Nothing is mixed: where masks disagree wholesale (two cars, one of them meant) a mean of them is nobody's answer. The
first label is the incumbent. A judge is noisiest about masks of a kind that it was not taught, and many are compared,
so another must beat the incumbent by `margin`; with a margin of 1 nothing ever changes.
"""

from collections.abc import Sequence

import numpy as np

from annotators.candidate import Candidate, Provenance
from annotators.label import Label, Quality
from annotators.masks import encode_mask
from annotators.protocols import Verdict
from annotators.votes import Vote, votes_of

INCUMBENT = "label"
"""Name of the expert of a candidate that is the label which a sample had before."""


def incumbent(label: Label, quality: Quality | None) -> tuple[Candidate, ...]:
    """The label of an earlier build as the first candidate of the next one; none when it marks nothing.

    A grey label is cut at 128. Its score is the quality it had, 0.5 when it was not scored.
    """
    mask = label.mask >= 128
    if not mask.any():
        return ()
    score = quality.score if quality else 0.5
    made_by = Provenance(expert=INCUMBENT, model=label.rule, score_raw=score)
    return (
        Candidate(
            mask=encode_mask(mask),
            phrase=0,
            proposal=None,
            mask_score=score,
            stability=1.0,
            made_by=made_by,
        ),
    )


def options_of(candidates: Sequence[Candidate], size_hw: tuple[int, int]) -> list[Vote]:
    """The labels to choose from: every vote, in order; of equal masks the first."""
    found: list[Vote] = []
    for vote in votes_of(candidates, size_hw):
        if not any(np.array_equal(vote.mask, other.mask) for other in found):
            found.append(vote)
    return found


def worth(verdicts: Sequence[Verdict]) -> float | None:
    """What judges think of one mask, in [0, 1]: the mean of their validities and exhaustivities; None if none spoke."""
    if not verdicts:
        return None
    return sum((v.validity + v.exhaustivity) / 2 for v in verdicts) / len(verdicts)


def choose(worths: Sequence[float | None], *, margin: float) -> int:
    """Index of the label to take: the first, unless the best of the others is worth more by over `margin`.

    One that no judge spoke about is not taken; an incumbent that none spoke about stays.

    >>> choose([0.4, 0.5, 0.9], margin=0.3), choose([0.4, 0.5], margin=0.3), choose([0.4, None], margin=0)
    (2, 0, 0)
    """
    assert worths
    known = [(value, -index) for index, value in enumerate(worths) if value is not None]
    first = worths[0]
    if first is None or not known:
        return 0
    value, index = max(known)
    return -index if value > first + margin else 0
