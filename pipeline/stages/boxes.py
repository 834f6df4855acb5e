"""The labelled path: boxes that a human drew -> proposals, for a segmenter to cut the thing out of each."""

from collections.abc import Sequence

from annotators.candidate import Proposal, Provenance
from pipeline.records import Reject, Sample
from pipeline.stage import Images


class Boxes:
    """Fills `proposals` with the source's boxes; none where it brought none."""

    name = "boxes"
    reads = frozenset({"extra"})
    writes: str | None = "proposals"

    def __call__(self, samples: Sequence[Sample], images: Images) -> list[Sample | Reject]:
        return [sample.fill("proposals", _proposals(sample)) for sample in samples]


def _proposals(sample: Sample) -> tuple[Proposal, ...]:
    made_by = Provenance(expert="source", model=sample.source.dataset, score_raw=1.0)
    return tuple(Proposal(box=box, phrase=0, score=1.0, made_by=made_by) for box in sample.boxes)
