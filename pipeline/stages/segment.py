"""Boxes and phrases -> masks: segmenters see the proposals, text segmenters the phrases; all candidates are kept."""

from collections.abc import Sequence
from dataclasses import replace

from annotators.protocols import Segmenter, TextSegmenter
from pipeline.panel import ask, split_faults
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
        pictures = [images(sample) for sample in samples]
        phrases = [sample.phrases or () for sample in samples]
        proposals = [sample.proposals or () for sample in samples]
        answers = [
            ask(expert.name, expert.segment, pictures, proposals)
            if isinstance(expert, Segmenter)
            else ask(expert.name, expert.segment_text, pictures, phrases)
            for expert in self.experts
        ]
        done: list[Sample | Reject] = []
        for row, sample in enumerate(samples):
            given, faults = split_faults(sample, [column[row] for column in answers])
            candidates = tuple(candidate for each in given for candidate in each)
            done.append(replace(sample, faults=faults).fill("candidates", candidates))
        return done
