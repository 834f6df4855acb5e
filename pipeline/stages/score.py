"""Label -> quality: what the pipeline believes of its own label, with named parts."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from annotators.calibration import calibrated, read_calibration
from annotators.halt import Halt
from annotators.protocols import Verdict, Verifier
from annotators.quality import judge
from annotators.verdicts import with_verdicts
from pipeline.config import ScoreConfig
from pipeline.panel import ask, split_faults
from pipeline.records import Quality, Reject, Sample
from pipeline.stage import Images


class Score:
    """Fills `quality`. `panel_size` is how many experts could have voted; None: those that did.

    With a `learnt` calibration the score of a label that marks something is the chance that it is right.

    Verifiers are asked about every label that marks something; one that abstains or fails leaves no trace in the
    quality of that sample.
    """

    name = "score"
    writes: str | None = "quality"

    def __init__(
        self, config: ScoreConfig, *, panel_size: int | None, verifiers: Sequence[Verifier] = ()
    ) -> None:
        assert not isinstance(config.learnt, Path), "a resolved recipe holds what was learnt"
        self.config = config
        self.learnt = None if config.learnt is None else read_calibration(config.learnt)
        self.panel_size = panel_size
        self.verifiers = tuple(verifiers)
        seen = {"image", "instructions"} if verifiers else set[str]()
        self.reads = frozenset({"candidates", "label", *seen})

    def __call__(self, samples: Sequence[Sample], images: Images) -> list[Sample | Reject]:
        done: list[Sample | Reject] = []
        for sample, answers in zip(samples, self._verify(samples, images), strict=True):
            given, faults = split_faults(sample, answers)
            verdicts: list[Verdict] = [answer for answer in given if answer is not None]
            quality = self._calibrate(sample, with_verdicts(self._judge(sample), verdicts))
            done.append(replace(sample, faults=faults).fill("quality", quality))
        return done

    def of_panel(self, size: int | None) -> "Score":
        """The same stage for samples that were born with the votes of `size` experts."""
        return Score(self.config, panel_size=size, verifiers=self.verifiers)

    def _judge(self, sample: Sample) -> Quality:
        assert sample.label is not None
        return judge(
            sample.candidates or (),
            sample.label,
            rule=self.config.rule,
            panel_size=self.panel_size,
        )

    def _calibrate(self, sample: Sample, quality: Quality) -> Quality:
        assert sample.label is not None
        if self.learnt is None or not sample.label.area:
            return quality
        try:
            return calibrated(quality, self.learnt)
        except ValueError as error:
            raise Halt(f"stages.score.learnt: {error}") from error

    def _verify(self, samples: Sequence[Sample], images: Images) -> list[list[object]]:
        answers: list[list[object]] = [[] for _ in samples]
        rows = [row for row, s in enumerate(samples) if s.label is not None and s.label.area]
        for verifier in self.verifiers:
            shown = [samples[row] for row in rows]
            pictures = [images(sample) for sample in shown]
            texts = [sample.instructions for sample in shown]
            masks = [sample.label.mask >= 128 for sample in shown if sample.label is not None]
            found = ask(verifier.name, verifier.verify, pictures, texts, masks)
            for row, answer in zip(rows, found, strict=True):
                answers[row].append(answer)
        return answers
