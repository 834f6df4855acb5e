"""Phrases -> boxes: every grounder of the panel is asked, their proposals stand in panel order."""

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
        pictures = [images(sample) for sample in samples]
        phrases = [sample.phrases or () for sample in samples]
        answers = [ask(g.name, g.ground, pictures, phrases) for g in self.grounders]
        done: list[Sample | Reject] = []
        for row, sample in enumerate(samples):
            given, faults = split_faults(sample, [column[row] for column in answers])
            proposals = tuple(proposal for each in given for proposal in each)
            done.append(replace(sample, faults=faults).fill("proposals", proposals))
        return done
