"""The funnel of a report: every input as one of committed, rejected (stage, reason) or quarantined, and the sum."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.manifest import Totals
from pipeline.report.runs import read_lines

STAGES = ("source", "rewrite", "ground", "segment", "join", "fuse", "choose", "score", "keep")
QUARANTINE = "quarantine"
EXAMPLES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """One way out of the line. `start` and `share` are shares of the inputs: what was left before it, what it took."""

    stage: str
    reason: str
    count: int
    start: float
    share: float
    examples: tuple[tuple[str, str], ...]
    """(sample id, detail) of the first few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Funnel:
    """The drops in the order of the line, and whether the books balance."""

    drops: Sequence[Drop]
    inputs: int
    committed: int
    rejected: int
    quarantined: int
    listed: int
    """Lines found in rejects/."""

    @property
    def balances(self) -> bool:
        return self.inputs == self.committed + self.rejected + self.quarantined

    @property
    def all_listed(self) -> bool:
        return self.listed == self.rejected + self.quarantined


def funnel(root: Path, totals: Totals) -> Funnel:
    """The funnel of a dataset folder: counts from the receipts' totals, examples from rejects/*.jsonl.

    Raises:
        ValueError: a rejects file is damaged; names it.
    """
    examples, listed = _examples(root)
    counts: dict[tuple[str, str], int] = {}
    for slug, number in totals.rejected.items():
        stage, _, reason = slug.partition("/")
        counts[stage, reason] = number
    if totals.quarantined:
        counts[QUARANTINE, "error"] = totals.quarantined
    left, drops = totals.inputs, []
    for (stage, reason), number in sorted(counts.items(), key=lambda item: _place(item[0])):
        left -= number
        drops.append(
            Drop(
                stage=stage,
                reason=reason,
                count=number,
                start=left / totals.inputs,
                share=number / totals.inputs,
                examples=tuple(examples.get((stage, reason), ())),
            )
        )
    return Funnel(
        drops=drops,
        inputs=totals.inputs,
        committed=totals.committed,
        rejected=sum(totals.rejected.values()),
        quarantined=totals.quarantined,
        listed=listed,
    )


def _examples(root: Path) -> tuple[Mapping[tuple[str, str], list[tuple[str, str]]], int]:
    found: defaultdict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    listed = 0
    for path in sorted((root / "rejects").glob("*.jsonl")):
        for line in read_lines(path):
            listed += 1
            try:
                kind = found[line["stage"], line["reason"]]
                if len(kind) < EXAMPLES:
                    kind.append((str(line["sample_id"]), str(line["detail"])))
            except KeyError as error:
                raise ValueError(
                    f"{path}: a reject lacks {error}; expected sample_id, stage, reason and detail"
                ) from error
    return found, listed


def _place(key: tuple[str, str]) -> tuple[int, str, str]:
    stage, reason = key
    if stage == QUARANTINE:
        return len(STAGES) + 1, stage, reason
    return STAGES.index(stage) if stage in STAGES else len(STAGES), stage, reason
