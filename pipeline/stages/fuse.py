"""Candidates -> one label, by one of the rules of annotators.fusion."""

from collections.abc import Sequence

from annotators.fusion import fuse
from pipeline.config import FuseConfig
from pipeline.records import Reject, Sample
from pipeline.stage import Images


class Fuse:
    """Fills `label`; empty where there is no candidate."""

    name = "fuse"
    reads = frozenset({"candidates", "size_hw"})
    writes: str | None = "label"

    def __init__(self, config: FuseConfig) -> None:
        self.config = config

    def __call__(self, samples: Sequence[Sample], images: Images) -> list[Sample | Reject]:
        return [
            sample.fill(
                "label",
                fuse(
                    sample.candidates or (),
                    sample.size_hw,
                    rule=self.config.rule,
                    threshold=self.config.threshold,
                ),
            )
            for sample in samples
        ]
