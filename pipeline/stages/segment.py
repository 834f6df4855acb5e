"""Boxes and phrases -> masks: segmenters see the proposals, text segmenters the phrases; all candidates are kept.

An expert is shown only the samples that have something for it: boxes, or phrases whose target may be there.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from annotators.candidate import Candidate, expert_key
from annotators.protocols import Segmenter, TextSegmenter
from pipeline.panel import Fault, ask, split_faults
from pipeline.records import Reject, Sample
from pipeline.stage import Images


class Segment:
    """Fills `candidates` in panel order; none when every expert abstains."""

    name = "segment"
    writes: str | None = "candidates"

    def __init__(self, experts: Sequence[Segmenter | TextSegmenter]) -> None:
        self.experts = tuple(experts)
        fields = {"proposals" if isinstance(e, Segmenter) else "phrases" for e in self.experts}
        self.reads = frozenset({"image", *fields})

    def __call__(self, samples: Sequence[Sample], images: Images) -> list[Sample | Reject]:
        answers: list[list[Any]] = [[] for _ in samples]
        for expert in self.experts:
            if isinstance(expert, Segmenter):
                call, given = expert.segment, [sample.proposals or () for sample in samples]
            else:
                call, given = expert.segment_text, [sample.sought for sample in samples]
            rows = [row for row, items in enumerate(given) if items]
            pictures = [images(samples[row]) for row in rows]
            found = ask(expert.name, call, pictures, [given[row] for row in rows])
            for row, answer in zip(rows, found, strict=True):
                answers[row].append(
                    answer if isinstance(answer, Fault) else _boxed(answer, samples[row])
                )
        done: list[Sample | Reject] = []
        for row, sample in enumerate(samples):
            given, faults = split_faults(sample, answers[row])
            candidates = tuple(candidate for each in given for candidate in each)
            done.append(replace(sample, faults=faults).fill("candidates", candidates))
        return done


def _boxed(candidates: Sequence[Candidate], sample: Sample) -> list[Candidate]:
    """Candidates that say whose box they were cut from."""
    proposals = sample.proposals or ()
    return [
        c if c.proposal is None else replace(c, boxed_by=expert_key(proposals[c.proposal].made_by))
        for c in candidates
    ]
