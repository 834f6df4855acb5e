"""Verdicts of verifiers as parts of a label's quality: never a filter of their own, always to be read beside the rest.

SAM 3's data engine asks two questions of each mask, whether it is right (validity) and whether anything is missing
(exhaustivity); here both answers stand in the quality by name, and move its score by `SHARE`.
"""

from collections.abc import Sequence

from annotators.label import Quality
from annotators.protocols import Verdict

SHARE = 0.25
"""Weight of validity, and of exhaustivity, in the score; the rest is what it was. Ours: nobody published one."""


def with_verdicts(quality: Quality, verdicts: Sequence[Verdict]) -> Quality:
    """`quality` with the parts "validity" and "exhaustivity" (means over the verifiers) and its score moved by them.

    Without verdicts it stays as it is.

    >>> q = Quality(score=0.5, parts=(("fit", 0.5),), rule="agreement")
    >>> with_verdicts(q, [Verdict(validity=1.0, exhaustivity=0.0)]).score
    0.5
    """
    if not verdicts:
        return quality
    validity = sum(v.validity for v in verdicts) / len(verdicts)
    exhaustivity = sum(v.exhaustivity for v in verdicts) / len(verdicts)
    score = (1 - 2 * SHARE) * quality.score + SHARE * (validity + exhaustivity)
    return Quality(
        score=min(1.0, score),
        parts=(*quality.parts, ("validity", validity), ("exhaustivity", exhaustivity)),
        rule=f"{quality.rule}+verifier",
    )
