"""By how much a judge must prefer a model's mask before it takes the old label's place: learnt from gold.

A discriminator's score is no probability of being right, and it knows the old labels better than a model's masks; so
neither "the higher score" nor a fixed margin is good for every dataset. On samples with gold for training both masks
can be compared with the truth: the margin is the one under which the chosen masks agree best with it. Nothing leaks,
since neither the model nor the judge that is asked about a picture has learnt from it, and audit gold is not looked at.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from annotators.choice import INCUMBENT, choose, incumbent, options_of, worth
from annotators.phrase import Phrase
from annotators.quality import mask_iou
from pipeline.reader import iterate_samples
from pipeline.records import Sample
from trainer.data.table import decode_image
from trainer.use.expert import TrainedExpert
from trainer.use.judge import TrainedJudge

MARGINS = tuple(n / 20 for n in range(21))
"""What is tried; with 1, the last, nothing is replaced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What one sample with gold could have as its label: the worth of each mask, and its IoU with gold."""

    worths: tuple[float | None, ...]
    ious: tuple[float, ...]


def learn_margin(root: Path, *, annotators: str, judges: str) -> dict[str, Any]:
    """The margin for the stage `choose`, from a dataset whose experts, and one trained one, stand for a label.

    Args:
        root: the dataset, its labels the incumbents.
        annotators: folder of folds of models (trainer.use.expert).
        judges: folder of folds of discriminators (trainer.use.judge).

    Returns:
        margin, samples, and the mean IoU with gold of the old labels (iou_before), of the chosen (iou_after), and of
        the best that could be chosen (iou_oracle).

    Raises:
        ValueError: no sample has gold for training, or a model is not to be had.
    """
    expert, judge = TrainedExpert(model=annotators), TrainedJudge(model=judges)
    choices = [
        choice_of(sample, expert, judge)
        for sample in iterate_samples(root)
        if sample.gold is not None and sample.gold_role == "train"
    ]
    if not choices:
        raise ValueError(f"{root} has no gold with role 'train'; a margin cannot be learnt")
    curve = [mean_iou(choices, margin) for margin in MARGINS]
    best = max(range(len(MARGINS)), key=lambda n: (curve[n], n))
    return {
        "margin": MARGINS[best],
        "samples": len(choices),
        "iou_before": round(curve[-1], 5),
        "iou_after": round(curve[best], 5),
        "iou_oracle": round(sum(max(c.ious) for c in choices) / len(choices), 5),
        "curve": [[m, round(v, 5)] for m, v in zip(MARGINS, curve, strict=True)],
    }


def choice_of(sample: Sample, expert: TrainedExpert, judge: TrainedJudge) -> Choice:
    """The labels that the next build will choose from, in its order: what source, `join` and `choose` make of it."""
    assert sample.label is not None
    assert sample.gold is not None
    image, gold = decode_image(sample), sample.gold.array()
    asked = [Phrase(text=sample.instructions[0], role="raw", made_by="source")]
    absent = any(phrase.role == "absent" for phrase in sample.phrases or ())
    joined = [] if absent else expert.segment_text([image], [asked])[0]
    kept = [c for c in sample.candidates or () if c.made_by.expert != INCUMBENT]
    first = incumbent(sample.label, sample.quality)
    votes = options_of([*first, *kept, *joined], sample.size_hw)
    if not votes:
        return Choice(worths=(None,), ious=(float(not gold.any()),))
    count = len(votes)
    verdicts = judge.verify([image] * count, [sample.instructions] * count, [v.mask for v in votes])
    return Choice(
        worths=tuple(worth([] if v is None else [v]) for v in verdicts),
        ious=tuple(mask_iou(vote.mask, gold) for vote in votes),
    )


def mean_iou(choices: Sequence[Choice], margin: float) -> float:
    """Mean IoU with gold of what `choose` takes under a margin."""
    return sum(c.ious[choose(c.worths, margin=margin)] for c in choices) / len(choices)
