"""Label -> quality: what the pipeline believes of its own label, with named parts."""

from collections.abc import Sequence

from annotators.quality import judge
from pipeline.config import ScoreConfig
from pipeline.records import Reject, Sample
from pipeline.stage import Images


class Score:
    """Fills `quality`. `panel_size` is how many experts could have voted."""

    name = "score"
    reads = frozenset({"candidates", "label"})
    writes: str | None = "quality"

    def __init__(self, config: ScoreConfig, *, panel_size: int) -> None:
        self.config = config
        self.panel_size = panel_size

    def __call__(self, samples: Sequence[Sample], images: Images) -> list[Sample | Reject]:
        done: list[Sample | Reject] = []
        for sample in samples:
            assert sample.label is not None
            quality = judge(
                sample.candidates or (),
                sample.label,
                rule=self.config.rule,
                panel_size=self.panel_size,
            )
            done.append(sample.fill("quality", quality))
        return done
