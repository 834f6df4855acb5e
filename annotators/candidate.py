"""What experts give: proposals (boxes) and candidates (masks), each saying where it came from."""

from dataclasses import dataclass

from annotators.boxes import Box
from annotators.masks import Mask


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where a proposal or candidate came from; enough to make it again.

    `score_raw` is the expert's own number in the expert's own unit, before anything mapped it to [0, 1].
    """

    expert: str
    model: str = ""
    revision: str = ""
    prompt_version: str = ""
    score_raw: float = 0.0
    config_hash: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """One box for one phrase. `score` in [0, 1] is the expert's own confidence; `phrase` indexes the phrases."""

    box: Box
    phrase: int
    score: float
    made_by: Provenance

    def __post_init__(self) -> None:
        _check_unit("proposal score", self.score, self.made_by)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One mask by one expert, for phrase number `phrase`.

    `proposal` indexes the proposals when the mask was made from a box. `mask_score` in [0, 1] is the expert's own
    confidence; `stability` in [0, 1] says how little the mask changes when the expert's threshold moves (1: not).
    `boxed_by` is the key (`expert_key`) of the expert whose box it was cut from, empty when it was cut from none; the
    stage that asks segmenters fills it in.
    """

    mask: Mask
    phrase: int
    proposal: int | None
    mask_score: float
    stability: float
    made_by: Provenance
    boxed_by: str = ""

    def __post_init__(self) -> None:
        _check_unit("mask score", self.mask_score, self.made_by)
        _check_unit("stability", self.stability, self.made_by)


def expert_key(made_by: Provenance) -> str:
    """What tells one expert from another, readable and the same in every dataset: `expert@config_hash`.

    The same expert with other options (its model is one of them) is another expert. Where provenance has no hash the
    model stands in its place, and without a model the name stands alone.

    >>> expert_key(Provenance(expert="owlv2", model="google/owlv2-base", config_hash="c0ffee"))
    'owlv2@c0ffee'
    """
    setting = made_by.config_hash or made_by.model
    return f"{made_by.expert}@{setting}" if setting else made_by.expert


def _check_unit(what: str, value: float, made_by: Provenance) -> None:
    if not 0.0 <= value <= 1.0:  # also catches NaN
        raise ValueError(
            f"{what} {value} by expert {made_by.expert!r}; expected a number in [0, 1]"
        )
