"""The photographs of a report: which samples are shown, and how masks are laid over them.

A card is one small JPEG and its masks as SVG outlines, so that layers can be switched in the page, stay sharp, and
cost few bytes. Samples are chosen by rule, not by taste: the best, middle and worst labels (by gold where there is
gold, else by quality), those that are trusted and wrong, those without a target, and those with gold for training.
"""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from annotators.masks import BoolMask
from annotators.votes import votes_of
from pipeline.intake.images import decode
from pipeline.records import Sample
from pipeline.report.facts import SampleFact, iou, short_names

SIDE = 400
"""Longer side of a thumbnail, px."""
JPEG_QUALITY = 80
PER_KIND = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A sample to show, and why."""

    id: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A mask over a thumbnail: `kind` picks the colour (candidate, label, gold, prediction), `path` is SVG data."""

    kind: str
    name: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One photograph of the gallery with all that is said beside it. Sizes are px of the thumbnail."""

    id: str
    why: str
    uri: str
    width: int
    height: int
    layers: tuple[Layer, ...]
    instructions: tuple[str, ...]
    style: str
    dataset: str
    label_iou: float | None = None
    quality: float | None = None
    parts: tuple[tuple[str, float], ...] = ()
    experts: tuple[tuple[str, float, float | None], ...] = ()
    """(expert, its own score, IoU of its vote with gold)."""
    phrases: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    rule: str = ""
    gold_role: str = ""
    note: str = ""


def choose(facts: Sequence[SampleFact], per_kind: int = PER_KIND) -> list[Choice]:
    """At most six kinds of `per_kind` samples, each sample once and each photograph once a kind, in a fixed order."""
    taken: set[str] = set()
    choices: list[Choice] = []

    def add(why: str, ranked: Sequence[SampleFact]) -> None:
        images: set[str] = set()
        for fact in ranked:
            if len(images) == per_kind:
                return
            if fact.id not in taken and fact.image not in images:
                taken.add(fact.id)
                images.add(fact.image)
                choices.append(Choice(id=fact.id, why=why))

    measured = [f for f in facts if f.label_iou is not None and not f.gold_empty]
    if measured:
        value: Callable[[SampleFact], float] = lambda f: f.label_iou or 0.0  # noqa: E731
        pool, by = [f for f in measured if not f.empty], "IoU with gold"
    else:
        value = lambda f: f.quality or 0.0  # noqa: E731
        pool, by = [f for f in facts if not f.empty and f.quality is not None], "quality"
    ranked = sorted(pool, key=lambda f: (-value(f), f.id))
    middle = value(ranked[len(ranked) // 2]) if ranked else 0.0
    add(f"best {by}", ranked)
    wrong = [f for f in measured if f.quality is not None and not f.empty and value(f) < 0.2]
    add("trusted and wrong", sorted(wrong, key=lambda f: (-(f.quality or 0.0), f.id)))
    add(f"worst {by}", ranked[::-1])
    add(f"median {by}", sorted(pool, key=lambda f: (abs(value(f) - middle), f.id)))
    add("no target found", sorted((f for f in facts if f.empty), key=lambda f: f.id))
    add("gold for training", [f for f in facts if f.gold_role == "train"])
    return choices


def sample_card(sample: Sample, why: str) -> Card:
    """A card with the votes of the experts, the label and the gold of a sample."""
    assert sample.label is not None, sample.id
    gold = sample.gold.array() if sample.gold else None
    label = sample.label.mask >= 128
    scale = _scale(sample)
    votes = votes_of(sample.candidates or (), sample.size_hw)
    names = short_names(vote.voter for vote in votes)
    layers = [
        Layer(kind="candidate", name=names[v.voter], path=outline(v.mask, scale)) for v in votes
    ]
    layers.append(Layer(kind="label", name=sample.label.rule, path=outline(label, scale)))
    if gold is not None:
        layers.append(Layer(kind="gold", name=sample.gold_role, path=outline(gold, scale)))
    quality = sample.quality
    return _card(
        sample,
        why,
        layers,
        label_iou=None if gold is None else iou(label, gold),
        quality=quality.score if quality else None,
        parts=quality.parts if quality else (),
        experts=tuple(
            (names[v.voter], v.score, None if gold is None else iou(v.mask, gold)) for v in votes
        ),
        phrases=tuple(dict.fromkeys(f"{p.text} ({p.role})" for p in sample.phrases or ())),
        faults=sample.faults,
        rule=sample.label.rule,
        gold_role=sample.gold_role if gold is not None else "",
    )


def prediction_card(sample: Sample, prediction: BoolMask, value: float, why: str) -> Card:
    """A card with a model's prediction over the gold (or, without gold, the label) it was measured against.

    Raises:
        ValueError: the prediction is of another size than the photograph.
    """
    assert sample.label is not None, sample.id
    if prediction.shape != sample.size_hw:
        raise ValueError(
            f"prediction for {sample.id!r} is of {prediction.shape} (h, w) pixels on a photograph of "
            f"{sample.size_hw}; the results belong to another dataset"
        )
    scale = _scale(sample)
    truth = sample.gold.array() if sample.gold else sample.label.mask >= 128
    layers = [
        Layer(kind="prediction", name="prediction", path=outline(prediction, scale)),
        Layer(kind="gold" if sample.gold else "label", name="target", path=outline(truth, scale)),
    ]
    return _card(
        sample,
        why,
        layers,
        label_iou=value,
        note="" if prediction.any() else "predicted nothing",
    )


def _scale(sample: Sample) -> float:
    return min(1.0, SIDE / max(sample.size_hw))


def _card(sample: Sample, why: str, layers: Sequence[Layer], **more: Any) -> Card:
    """The fields that every card has, from the sample itself; `more` are the others."""
    uri, (height, width) = thumbnail(sample.image, _scale(sample))
    return Card(
        id=sample.id,
        why=why,
        uri=uri,
        width=width,
        height=height,
        layers=tuple(layer for layer in layers if layer.path),
        instructions=sample.instructions,
        style=sample.style,
        dataset=sample.source.dataset,
        **more,
    )


def outline(mask: BoolMask, scale: float) -> str:
    """SVG path data (even-odd) around the true pixels of `mask` (h, w), scaled; empty for an empty mask."""
    contours, _ = cv2.findContours(
        np.ascontiguousarray(mask, np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE
    )
    parts = []
    for contour in contours:
        points = cv2.approxPolyDP(contour, 0.7 / scale, True).reshape(-1, 2)
        places = (f"{(x + 0.5) * scale:.1f} {(y + 0.5) * scale:.1f}" for x, y in points.tolist())
        parts.append("M" + "L".join(places) + "Z")
    return "".join(parts)


def thumbnail(image: bytes, scale: float) -> tuple[str, tuple[int, int]]:
    """A small JPEG of image bytes as a data URI, and its (h, w)."""
    pixels = decode(image)
    height, width = pixels.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.cvtColor(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert done, size
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode(), (size[1], size[0])
