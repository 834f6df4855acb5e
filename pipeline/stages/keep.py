"""Decides what is committed; everything else becomes a reject with a reason that can be counted."""

from collections.abc import Sequence

from pipeline.config import KeepConfig
from pipeline.records import Reject, Sample
from pipeline.stage import Images


class Keep:
    """Applies the thresholds of the recipe.

    Reads gold only to let samples with gold for training through (`gold: keep`): a human's mask is worth keeping
    whatever the machine made of the sample. `judge` treats them like all others.
    """

    name = "keep"
    reads = frozenset({"label", "quality", "gold"})
    writes: str | None = None

    def __init__(self, config: KeepConfig, *, scored: bool) -> None:
        self.config = config
        if not scored:
            self.reads = frozenset({"label", "gold"})

    def __call__(self, samples: Sequence[Sample], images: Images) -> list[Sample | Reject]:
        return [self._judge(sample) for sample in samples]

    def _judge(self, sample: Sample) -> Sample | Reject:
        assert sample.label is not None
        config = self.config
        if config.gold == "keep" and sample.gold is not None and sample.gold_role == "train":
            return sample
        area = sample.label.area
        share = area / (sample.size_hw[0] * sample.size_hw[1])
        if area == 0:
            return sample if config.empty == "keep" else self._reject(sample, *_why_empty(sample))
        if share < config.min_area:
            return self._reject(sample, "area-small", f"{share:.4f} < {config.min_area}")
        if share > config.max_area:
            return self._reject(sample, "area-large", f"{share:.4f} > {config.max_area}")
        if sample.quality is not None and sample.quality.score < config.min_quality:
            detail = f"{sample.quality.score:.4f} < {config.min_quality}"
            return self._reject(sample, "quality-low", detail)
        return sample

    def _reject(self, sample: Sample, reason: str, detail: str) -> Reject:
        return Reject(sample_id=sample.id, stage=self.name, reason=reason, detail=detail)


def _why_empty(sample: Sample) -> tuple[str, str]:
    text = sample.instructions[0][:200]
    for phrase in sample.phrases or ():
        if phrase.role == "absent":
            return "target-absent", f"{phrase.made_by} finds no {phrase.text[:100]!r} for {text!r}"
    if sample.phrases == ():
        return "no-phrase", f"no rewriter found a target in {text!r}"
    if not sample.candidates:
        return "no-candidate", f"every expert abstained on {text!r}"
    return "label-empty", f"{len(sample.candidates)} candidates left no pixel above the threshold"
