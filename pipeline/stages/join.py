"""More candidates, from experts that are asked the instruction as it stands; those that are there already stay.

For models that learnt instructions and have no use for the phrases of a rewriter, and for a dataset whose experts need
not be asked again (source `shards`): its candidates come first, the new ones after them.
"""

from collections.abc import Sequence
from dataclasses import replace

from annotators.candidate import Candidate
from annotators.phrase import Phrase
from annotators.protocols import TextSegmenter
from pipeline.panel import ask, split_faults
from pipeline.records import Reject, Sample
from pipeline.stage import Images


class Join:
    """Adds to `candidates`. The first phrasing is asked, and nobody about a target that is said not to be there."""

    name = "join"
    reads = frozenset({"image", "instructions", "phrases", "candidates"})
    writes: str | None = "candidates"

    def __init__(self, experts: Sequence[TextSegmenter]) -> None:
        self.experts = tuple(experts)

    def __call__(self, samples: Sequence[Sample], images: Images) -> list[Sample | Reject]:
        answers: list[list[object]] = [[] for _ in samples]
        rows = [row for row, sample in enumerate(samples) if not _absent(sample)]
        pictures = [images(samples[row]) for row in rows]
        asked = [
            [Phrase(text=samples[row].instructions[0], role="raw", made_by="source")]
            for row in rows
        ]
        for expert in self.experts:
            found = ask(expert.name, expert.segment_text, pictures, asked)
            for row, answer in zip(rows, found, strict=True):
                answers[row].append(answer)
        done: list[Sample | Reject] = []
        for sample, answer in zip(samples, answers, strict=True):
            given, faults = split_faults(sample, answer)
            new = [_placed(candidate, sample) for each in given for candidate in each]
            done.append(replace(sample, faults=faults).add("candidates", tuple(new)))
        return done


def _absent(sample: Sample) -> bool:
    return any(phrase.role == "absent" for phrase in sample.phrases or ())


def _placed(candidate: Candidate, sample: Sample) -> Candidate:
    """With the index of the instruction among the sample's phrases; 0, the target's first name, when it is none."""
    raw = (i for i, p in enumerate(sample.phrases or ()) if p.text == sample.instructions[0])
    return replace(candidate, phrase=next(raw, 0))
