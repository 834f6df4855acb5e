"""Candidates -> one label, by one of the rules of annotators.fusion."""

from collections.abc import Sequence
from pathlib import Path

from annotators.fusion import fuse
from annotators.rates import read_reliability
from pipeline.config import FuseConfig
from pipeline.records import Reject, Sample
from pipeline.stage import Images


class Fuse:
    """Fills `label`; empty where there is no candidate. `learnt` reliabilities are those of the sample's style."""

    name = "fuse"
    reads = frozenset({"candidates", "size_hw", "style"})
    writes: str | None = "label"

    def __init__(self, config: FuseConfig) -> None:
        assert not isinstance(config.learnt, Path), "a resolved recipe holds what was learnt"
        if config.saturate and config.rule != "soft":
            raise ValueError(
                f"stages.fuse.saturate with rule {config.rule!r}; it is for rule 'soft'"
            )
        self.config = config
        self.learnt = None if config.learnt is None else read_reliability(config.learnt)

    def __call__(self, samples: Sequence[Sample], images: Images) -> list[Sample | Reject]:
        return [
            sample.fill(
                "label",
                fuse(
                    sample.candidates or (),
                    sample.size_hw,
                    rule=self.config.rule,
                    threshold=self.config.threshold,
                    saturate=self.config.saturate,
                    learnt=None if self.learnt is None else self.learnt.of(sample.style),
                ),
            )
            for sample in samples
        ]
