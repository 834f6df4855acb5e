"""Candidates -> one label, unmixed: every vote is shown to judges, and the best may take the first one's place."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from annotators.choice import choose, options_of, worth
from annotators.label import Label
from annotators.protocols import Verifier
from annotators.votes import Vote
from pipeline.config import ChooseConfig
from pipeline.panel import Fault, ask, split_faults
from pipeline.records import Reject, Sample
from pipeline.stage import Images


class Choose:
    """Fills `label` with one vote; empty where there is no candidate. A single vote is taken unseen."""

    name = "choose"
    reads = frozenset({"candidates", "size_hw", "image", "instructions"})
    writes: str | None = "label"

    def __init__(self, config: ChooseConfig, judges: Sequence[Verifier]) -> None:
        self.config = config
        self.judges = tuple(judges)

    def __call__(self, samples: Sequence[Sample], images: Images) -> list[Sample | Reject]:
        options = [options_of(sample.candidates or (), sample.size_hw) for sample in samples]
        places = [
            (row, number)
            for row, votes in enumerate(options)
            for number in range(len(votes) if len(votes) > 1 else 0)
        ]
        verdicts: list[list[list[Any]]] = [[[] for _ in votes] for votes in options]
        columns = (
            [images(samples[row]) for row, _ in places],
            [samples[row].instructions for row, _ in places],
            [options[row][number].mask for row, number in places],
        )
        for judge in self.judges:
            answers = ask(judge.name, judge.verify, *columns)
            for (row, number), answer in zip(places, answers, strict=True):
                verdicts[row][number].append(answer)
        return [
            self._choose(sample, votes, answers)
            for sample, votes, answers in zip(samples, options, verdicts, strict=True)
        ]

    def _choose(
        self, sample: Sample, votes: Sequence[Vote], answers: Sequence[Sequence[Any]]
    ) -> Sample:
        failed = [answer for each in answers for answer in each if isinstance(answer, Fault)]
        _, faults = split_faults(sample, failed)
        sample = replace(sample, faults=faults)
        if not votes:
            blank = np.zeros(sample.size_hw, np.uint8)
            return sample.fill(
                "label", Label(mask=blank, kind="binary", members=(), rule=self.name)
            )
        worths = [
            worth([a for a in each if a is not None and not isinstance(a, Fault)])
            for each in answers
        ]
        taken = votes[choose(worths, margin=self.config.margin)]
        mask = taken.mask.astype(np.uint8) * np.uint8(255)
        label = Label(mask=mask, kind="binary", members=taken.members, rule=self.name)
        return sample.fill("label", label)
