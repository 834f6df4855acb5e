"""Phrases -> boxes: every grounder of the panel is asked, their proposals stand in panel order.

A sample without phrases, or with a target that a rewriter calls absent, is not shown to any of them.
"""

from collections.abc import Sequence
from dataclasses import replace

from annotators.protocols import Grounder
from pipeline.panel import ask, split_faults
from pipeline.records import Reject, Sample
from pipeline.stage import Images


class Ground:
    """Fills `proposals`; none when every grounder abstains."""

    name = "ground"
    reads = frozenset({"image", "phrases"})
    writes: str | None = "proposals"

    def __init__(self, grounders: Sequence[Grounder]) -> None:
        self.grounders = tuple(grounders)

    def __call__(self, samples: Sequence[Sample], images: Images) -> list[Sample | Reject]:
        rows = [row for row, sample in enumerate(samples) if sample.sought]
        pictures = [images(samples[row]) for row in rows]
        phrases = [samples[row].sought for row in rows]
        columns = [ask(g.name, g.ground, pictures, phrases) for g in self.grounders]
        answers = dict(zip(rows, zip(*columns, strict=True), strict=True)) if columns else {}
        done: list[Sample | Reject] = []
        for row, sample in enumerate(samples):
            given, faults = split_faults(sample, answers.get(row, ()))
            proposals = tuple(proposal for each in given for proposal in each)
            done.append(replace(sample, faults=faults).fill("proposals", proposals))
        return done
