"""The labelled path: a human's mask is the one candidate, so that the label is gold itself."""

from collections.abc import Sequence

from annotators.candidate import Candidate, Provenance
from pipeline.records import Reject, Sample
from pipeline.stage import Images


class Adopt:
    """Fills `candidates` with gold; none where there is no gold, or it is empty (no target)."""

    name = "adopt"
    reads = frozenset({"gold"})
    writes: str | None = "candidates"

    def __call__(self, samples: Sequence[Sample], images: Images) -> list[Sample | Reject]:
        return [sample.fill("candidates", _candidates(sample)) for sample in samples]


def _candidates(sample: Sample) -> tuple[Candidate, ...]:
    if sample.gold is None or sample.gold.area() == 0:
        return ()
    made_by = Provenance(expert="source", model=sample.source.dataset, score_raw=1.0)
    return (
        Candidate(
            mask=sample.gold,
            phrase=0,
            proposal=None,
            mask_score=1.0,
            stability=1.0,
            made_by=made_by,
        ),
    )
