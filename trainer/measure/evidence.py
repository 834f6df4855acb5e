"""How complete a mask is: what of the evidence for an instruction lies inside it, asked of a model that sees pictures.

Overlap with gold says whether a mask is what a person drew; this says whether what it leaves is enough, and needs no
gold. A scorer answers how much a picture supports an instruction. As in RISE (arXiv 1806.07421, section 4.2), pixels
enter a blank picture in the order of the predicted probability, the likeliest first (insertion: a good order rises at
once), or leave the photograph for it (deletion: a good order falls at once); the number is the area under the scores
over the share of pixels that were moved, by trapezoids. RISE inserts into a blur and deletes to grey; here both are
done with both, since fills bias answers (trainer.measure.missingness), in `steps` equal moves. Pixels of one
probability come in an order that is fixed and means nothing: a mask without an order is not read from top to bottom.

And one number of ours, the share of evidence left outside:

    left_outside = (score(photograph without the mask) - score(blank)) / (score(photograph) - score(blank))

0 for a mask that takes all of it away, 1 for an empty mask. It is not cut to [0, 1]: below, the mask hid what spoke
for the instruction and left what speaks against it. Where the photograph itself says no more than the blank (by less
than `LEAST`) there is no share to speak of, and over many samples it is the ratio of the sums over the others, so that
those with little evidence count little. Gold's own share says how much the scorer finds outside of a perfect mask.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from annotators.masks import BoolMask
from annotators.protocols import Image
from trainer.measure.fills import fill

Scorer = Callable[[Sequence[Image], str], NDArray[np.float64]]
"""RGB uint8 pictures (h, w, 3) of one size and an instruction -> float64, a finite number for each picture."""

BASELINES = ("blur", "grey")
STEPS = 10
LEAST = 0.01
"""In the scorer's units; for cosines of an image-text model what two like photographs differ by."""
MOST_PX = 448
"""Larger photographs are shrunk to this longer side first: scorers see no more."""
AT_ONCE = 16
"""Pictures that a scorer is given together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """A scorer and who it is."""

    model: str
    revision: str
    score: Scorer


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a scorer said about one sample over one baseline, in its own units.

    whole, blank: of the photograph, and of the baseline. insertion, deletion: after 0, 1, ... n of n moves. without: of
    the photograph without the mask; without_gold: without the gold mask.
    """

    whole: float
    blank: float
    insertion: tuple[float, ...]
    deletion: tuple[float, ...]
    without: float
    without_gold: float

    @property
    def inside(self) -> float:
        """The evidence there is to divide: `whole - blank`."""
        return self.whole - self.blank

    @property
    def left_outside(self) -> float | None:
        """The share left outside of the mask; None where there is less than `LEAST` to divide."""
        return (self.without - self.blank) / self.inside if self.inside >= LEAST else None


def measure_evidence(
    image: Image,
    probability: NDArray[np.float32],
    text: str,
    *,
    mask: BoolMask,
    gold: BoolMask,
    scorer: Scorer,
    steps: int = STEPS,
) -> dict[str, Evidence]:
    """Ask a scorer about one prediction, over each of `BASELINES`.

    Args:
        image: RGB uint8 (h, w, 3).
        probability: float32 (h, w), the order in which pixels are moved.
        text: the instruction.
        mask: bool (h, w), the prediction.
        gold: bool (h, w).
        scorer: pure; asked about `4 steps + 3` pictures.
        steps: moves of a curve.

    Raises:
        ValueError: sizes differ, `steps` is below 1, or the scorer gives something else than a finite number each.
    """
    for name, array in (("probability", probability), ("mask", mask), ("gold", gold)):
        if array.shape != image.shape[:2]:
            raise ValueError(
                f"{name} of {array.shape} on an image of {image.shape[:2]} (h, w); expected one size"
            )
    if steps < 1:
        raise ValueError(f"{steps} steps; expected at least 1")
    size = _size(image.shape[:2])
    rank = rank_pixels(_resized(probability.astype(np.float32), size))
    photograph = np.asarray(cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA), np.uint8)
    masks = [_resized(m.astype(np.float32), size) >= 0.5 for m in (mask, gold)]
    whole = _ask(scorer, [photograph], text)[0]
    found: dict[str, Evidence] = {}
    for baseline in BASELINES:
        blank = fill(photograph, baseline)
        cuts = [round(k * rank.size / steps) for k in range(1, steps)]
        shown = [blank, *_without(photograph, blank, masks)]
        shown += _without(blank, photograph, [rank < cut for cut in cuts])
        shown += _without(photograph, blank, [rank < cut for cut in cuts])
        said = _ask(scorer, shown, text)
        nothing, without, without_gold = said[:3]
        found[baseline] = Evidence(
            whole=whole,
            blank=nothing,
            insertion=(nothing, *said[3 : 2 + steps], whole),
            deletion=(whole, *said[2 + steps :], nothing),
            without=without,
            without_gold=without_gold,
        )
    return found


def rank_pixels(probability: NDArray[np.float32]) -> NDArray[np.int64]:
    """int64 (h, w): each pixel's place by falling probability, from 0; equals in a fixed order that means nothing."""
    flat = probability.ravel()
    shuffled = np.random.default_rng(0).permutation(flat.size)
    order = shuffled[np.argsort(-flat[shuffled], kind="stable")]
    rank = np.empty(flat.size, np.int64)
    rank[order] = np.arange(flat.size)
    return rank.reshape(probability.shape)


def area_under(scores: Sequence[float]) -> float:
    """The mean height of a curve over [0, 1] through equally spaced scores, by trapezoids.

    >>> area_under([0.0, 1.0, 1.0])
    0.75
    """
    inner = sum(scores) - (scores[0] + scores[-1]) / 2
    return inner / (len(scores) - 1)


def summarise_evidence(
    found: Sequence[dict[str, Evidence]], *, witness: Witness, steps: int = STEPS
) -> dict[str, Any]:
    """What `evaluate` writes: who was asked, and the means over samples for each baseline.

    `left_outside` and `gold_left_outside` are null where no sample has evidence to divide; `undivided` counts those
    that have none.

    Raises:
        ValueError: nothing was measured.
    """
    if not found:
        raise ValueError("no sample has a target, so there is no evidence to look for")
    return {
        "model": witness.model,
        "revision": witness.revision,
        "samples": len(found),
        "steps": steps,
        "least": LEAST,
        "baselines": {name: _means([one[name] for one in found]) for name in BASELINES},
    }


def evidence_lines(facts: dict[str, Any]) -> list[str]:
    """What `summarise_evidence` found, for a terminal."""
    head = "evidence, hidden by    insertion  deletion  photograph  blank   left outside  (of gold)"
    lines = [head]
    for name, row in facts["baselines"].items():
        shares = [
            "-" if row[key] is None else f"{row[key]:.3f}"
            for key in ("left_outside", "gold_left_outside")
        ]
        lines.append(
            f"{name:<22} {row['insertion_auc']:9.4f} {row['deletion_auc']:9.4f} {row['whole']:11.4f} "
            f"{row['blank']:6.4f} {shares[0]:>14} {shares[1]:>10}"
        )
    return [*lines, f"by {facts['model']} on {facts['samples']} samples with a target"]


def image_text_witness(model: str, *, device: str = "auto") -> Witness:
    """Cosines of a CLIP or SigLIP model between a picture, padded to a square, and the instruction.

    Args:
        model: hub id or folder.
        device: "auto", "cpu" or "cuda".

    Raises:
        ValueError: there is no such model, or it is of another kind.
    """
    from annotators.chat.square import pad_square
    from annotators.models.image_text import ImageText

    asked = ImageText(expert="evidence", options={"model": model, "device": device})

    def score(pictures: Sequence[Image], text: str) -> NDArray[np.float64]:
        found = asked.similarities([pad_square(picture) for picture in pictures], [text])
        return found[:, 0].astype(np.float64)

    return Witness(model=model, revision=asked.identity.revision, score=score)


def _size(size_hw: tuple[int, ...]) -> tuple[int, int]:
    scale = min(1.0, MOST_PX / max(size_hw))
    height, width = (max(1, round(side * scale)) for side in size_hw)
    return height, width


def _resized(values: NDArray[np.float32], size_hw: tuple[int, int]) -> NDArray[np.float32]:
    return np.asarray(cv2.resize(values, size_hw[::-1], interpolation=cv2.INTER_AREA), np.float32)


def _without(picture: Image, other: Image, masks: Sequence[BoolMask]) -> Iterator[Image]:
    """`picture` with `other` shown where each mask is."""
    for mask in masks:
        yield np.where(mask[..., None], other, picture)


def _ask(scorer: Scorer, pictures: Sequence[Image], text: str) -> list[float]:
    said: list[float] = []
    for at in range(0, len(pictures), AT_ONCE):
        some = pictures[at : at + AT_ONCE]
        answers = np.asarray(scorer(some, text), np.float64)
        if answers.shape != (len(some),) or not np.isfinite(answers).all():
            raise ValueError(
                f"the scorer gave {answers.shape} numbers for {len(some)} pictures, or one that is not finite; "
                "expected a finite number for each"
            )
        said += answers.tolist()
    return said


def _means(found: Sequence[Evidence]) -> dict[str, Any]:
    divided = [one for one in found if one.left_outside is not None]
    evidence = sum(one.inside for one in divided)

    def share(of: Callable[[Evidence], float]) -> float | None:
        return _round(sum(of(one) - one.blank for one in divided) / evidence) if divided else None

    curves = {
        name: np.mean([getattr(one, name) for one in found], axis=0).tolist()
        for name in ("insertion", "deletion")
    }
    return {
        "whole": _round(float(np.mean([one.whole for one in found]))),
        "blank": _round(float(np.mean([one.blank for one in found]))),
        "insertion_auc": _round(area_under(curves["insertion"])),
        "deletion_auc": _round(area_under(curves["deletion"])),
        "insertion": [_round(value) for value in curves["insertion"]],
        "deletion": [_round(value) for value in curves["deletion"]],
        "left_outside": share(lambda one: one.without),
        "gold_left_outside": share(lambda one: one.without_gold),
        "undivided": len(found) - len(divided),
    }


def _round(value: float) -> float:
    return round(value, 6)
