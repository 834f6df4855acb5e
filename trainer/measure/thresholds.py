"""From which p_clean on are labels good enough? The smallest threshold that keeps a wanted precision, with a promise.

Precision is the share of right labels (IoU >= 0.5 with gold) among those kept. It is estimated on the machine's own
labels of gold samples, judged out of fold (trainer.measure.reliability), and promised by the exact lower bound of
Clopper and Pearson (1934). Looking at many thresholds and taking the best would break the promise, so they are tried
in an order that was fixed without seeing gold: from a high one downwards, until the first that cannot be promised
(fixed sequence testing, as in Learn then Test, arXiv 2110.01052). That costs no confidence, while
Bonferroni would share the allowed risk among the candidates. The candidates keep 5, 10, ... 100 % of the labels
without gold; the first is the highest that ought to keep twice the gold without which nothing can be promised.

What the promise rests on: gold samples were drawn like the others, and their labels err independently. Labels of one
photograph do not quite, and gold of another source than the rest promises nothing.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from annotators.calibration import Floats
from trainer.measure.reliability import Bools, judged_labels

CANDIDATES = 20
AMPLE = 2.0
"""How much more gold than the least the first candidate ought to keep: with just the least, one wrong label ends it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """A threshold of p_clean, and what it keeps.

    `right` of the `gold` labels with gold to learn from that it keeps are right; `bound` is the precision that holds
    with `confidence`. It keeps `kept` of the `machine` labels that no gold replaces; of the `audited` ones among these
    that audit gold can judge, `audit_right` are right.
    """

    value: float
    bound: float
    confidence: float
    right: int
    gold: int
    kept: int
    machine: int
    audited: int = 0
    audit_right: int = 0

    @property
    def kept_share(self) -> float:
        """Of the machine labels, in [0, 1]."""
        return self.kept / self.machine

    @property
    def true_precision(self) -> float | None:
        """By audit gold; None where it judges none of those kept."""
        return self.audit_right / self.audited if self.audited else None


def threshold_for(
    root: Path, *, precision: float, confidence: float = 0.95, sidecar: str = "weights"
) -> Threshold:
    """The smallest threshold of p_clean whose precision can be promised, on a dataset that was judged.

    Raises:
        ValueError: it cannot be promised with the gold there is (says what could), the dataset was not judged, or a
            number is outside (0, 1).
    """
    judged = judged_labels(root, sidecar=sidecar)
    machine = ~judged.learnable
    found = choose_threshold(
        judged.p[judged.learnable],
        judged.right[judged.learnable],
        judged.p[machine],
        precision=precision,
        confidence=confidence,
    )
    audited = judged.audited & (judged.p >= found.value)
    return Threshold(
        value=found.value,
        bound=found.bound,
        confidence=confidence,
        right=found.right,
        gold=found.gold,
        kept=found.kept,
        machine=found.machine,
        audited=int(audited.sum()),
        audit_right=int(judged.right[audited].sum()),
    )


def choose_threshold(
    p: Floats, right: Bools, p_machine: Floats, *, precision: float, confidence: float = 0.95
) -> Threshold:
    """As `threshold_for`, from numbers: `p` and `right` of the labels with gold, `p_machine` of those without."""
    for name, value in (("precision", precision), ("confidence", confidence)):
        if not 0 < value < 1:
            raise ValueError(f"{name} is {value}; expected a number between 0 and 1")
    if not len(p_machine):
        raise ValueError("every label has gold; there is none to keep or to drop")
    need = math.ceil(math.log(1 - confidence) / math.log(precision))
    values = candidates(p_machine)
    ample = [v for v in values if float((p_machine >= v).mean()) * len(p) >= AMPLE * need]
    chosen: Threshold | None = None
    for value in reversed(ample or values[:1]):
        above = p >= value
        hits, n = int(right[above].sum()), int(above.sum())
        found = Threshold(
            value=value,
            bound=lower_bound(hits, n, confidence=confidence),
            confidence=confidence,
            right=hits,
            gold=n,
            kept=int((p_machine >= value).sum()),
            machine=len(p_machine),
        )
        if found.bound < precision:
            if chosen is None:
                raise ValueError(_refusal(found, len(p), precision, need))
            break
        chosen = found
    assert chosen is not None
    return chosen


def _refusal(first: Threshold, gold: int, precision: float, need: int) -> str:
    return (
        f"a precision of {precision:g} cannot be promised with {first.confidence:.0%} confidence from {gold} machine "
        f"labels with gold to learn from: of the {first.gold} with p_clean from {first.value:.4f} on, {first.right} "
        f"are right, which promises {_down(first.bound, 3):g}. Ask for less, or label more by hand: at least "
        f"{need} labels above the threshold must have gold, even if all of them are right"
    )


def candidates(p_machine: Floats) -> list[float]:
    """Thresholds that keep about 100, 95, ... 5 % of the machine labels, rising, each once, of six digits."""
    shares = np.arange(CANDIDATES) / CANDIDATES
    found = np.quantile(p_machine, shares, method="lower").tolist()
    return sorted({_down(value, 6) for value in found})


def lower_bound(right: int, n: int, *, confidence: float) -> float:
    """The share that is right at least, with `confidence`, when `right` of `n` independent ones were.

    Clopper and Pearson's exact one-sided bound; 0 when none was right.

    >>> round(lower_bound(29, 29, confidence=0.95), 4)
    0.9019
    """
    from scipy.stats import beta

    if not 0 <= right <= n:
        raise ValueError(f"{right} right of {n}; expected 0 to {n}")
    return float(beta.ppf(1 - confidence, right, n - right + 1)) if right else 0.0


def threshold_lines(found: Threshold) -> list[str]:
    """What `threshold_for` found, for a terminal."""
    lines = [
        f"threshold   {found.value:.6f}",
        f"kept        {found.kept} of {found.machine} machine labels ({found.kept_share:.1%})",
        f"precision   at least {_down(found.bound, 3):.3f} with {found.confidence:.0%} confidence "
        f"({found.right} of {found.gold} kept labels with gold to learn from are right)",
    ]
    if found.true_precision is None:
        return [*lines, "audit       no audit gold among those kept"]
    return [
        *lines,
        f"audit       {found.audit_right} of {found.audited} kept labels are right ({found.true_precision:.3f})",
    ]


def _down(value: float, digits: int) -> float:
    """Rounded towards zero: a threshold that is printed keeps what it was measured on, a bound claims no more."""
    return math.floor(value * 10**digits) / 10**digits
