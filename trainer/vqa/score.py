"""What the answers are worth, in the numbers that the benchmarks publish.

Every question that was asked counts: one without an answer (`failed`) and one whose answer is not clear (`unparsed`)
are right for nobody, and both are counted beside the numbers. So asked = read + unparsed + failed in every row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from trainer.vqa.item import Item

State = Literal["read", "unparsed", "failed"]
Numbers = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One question's outcome. `points` in [0, 1]; `said` is what was read of the answer, empty where nothing was."""

    group: str
    state: State
    points: float = 0.0
    label: str = ""
    said: str = ""
    published: str = ""
    """POPE: what the published rule makes of the answer, where there is one."""


def mark(item: Item, text: str | None, said: str | None, *, published: str = "") -> Mark:
    """The mark of a question with one right answer; `said` is None where the answer is not clear."""
    if text is None:
        return Mark(group=item.group, state="failed", label=item.answer)
    if said is None:
        return Mark(group=item.group, state="unparsed", label=item.answer, published=published)
    return Mark(
        group=item.group, state="read", points=float(said == item.answer), label=item.answer, said=said,
        published=published,
    )  # fmt: skip


def means(marks: Sequence[Mark], groups: Sequence[str]) -> Numbers:
    """`{"groups": {group: mean points}, "overall": over all questions, "average": over groups, counts}`.

    Groups come in the order given, others behind them; one without a question is left out.
    """
    present = [*groups, *sorted({m.group for m in marks} - {*groups})]
    by_group = {
        group: [m.points for m in marks if m.group == group]
        for group in present
        if any(m.group == group for m in marks)
    }
    shares = {group: sum(points) / len(points) for group, points in by_group.items()}
    return {
        "groups": shares,
        "overall": sum(m.points for m in marks) / len(marks),
        "average": sum(shares.values()) / len(shares),
        **counts(marks),
    }


def yes_no(marks: Sequence[Mark]) -> Numbers:
    """POPE's numbers over one setting, "yes" positive; None where nothing defines one.

    - accuracy: right answers over all questions.
    - precision: right yes over all yes. recall: right yes over all questions whose label is yes.
    - f1: the harmonic mean of the two. yes_ratio: yes over all questions.
    - published: the same by the published rule, over the questions that have an answer.
    """
    pairs = [(m.label, m.said) for m in marks]
    by_rule = [(m.label, m.published) for m in marks if m.state != "failed"]
    return {**_confusion(pairs), "published": _confusion(by_rule), **counts(marks)}


def counts(marks: Sequence[Mark]) -> Mapping[str, int]:
    """How many were asked, and how many of these were read, unparsed and failed."""
    states = [m.state for m in marks]
    return {"asked": len(marks), **{s: states.count(s) for s in ("read", "unparsed", "failed")}}


def _confusion(pairs: Sequence[tuple[str, str]]) -> Numbers:
    hits = sum(label == said == "yes" for label, said in pairs)
    right = sum(label == said for label, said in pairs)
    said_yes = sum(said == "yes" for _, said in pairs)
    labelled = sum(label == "yes" for label, _ in pairs)
    precision = hits / said_yes if said_yes else None
    recall = hits / labelled if labelled else None
    both = (precision or 0.0) + (recall or 0.0)
    f1 = (
        None
        if precision is None or recall is None
        else 2 * precision * recall / both
        if both
        else 0.0
    )
    return {
        "accuracy": right / len(pairs) if pairs else None,
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "yes_ratio": said_yes / len(pairs) if pairs else None,
    }
