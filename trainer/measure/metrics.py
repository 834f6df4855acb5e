"""How good a predicted mask is: per-sample IoU, and the sums and shares a table is made of.

A sample without a target is scored, not skipped: IoU 1 when the prediction is empty, else 0. The definitions are
those of GRES (arXiv 2306.00968, section 5, and its released evaluation), with RefCOCO's P@t: `>=`, not `>`. Means
hide their parts, so every summary is also given by style and by source.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

PRECISIONS: tuple[float, ...] = (0.5, 0.6, 0.7, 0.8, 0.9)
"""The IoU thresholds t of P@t."""

Summary = dict[str, float | int | None]


class Table(TypedDict):
    """Summaries of all records, and of those of each style and of each source."""

    overall: Summary
    by_style: dict[str, Summary]
    by_source: dict[str, Summary]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What one prediction was worth, counted in pixels of the frame both masks were compared in."""

    sample_id: str
    iou: float
    intersection: int
    union: int
    empty_target: bool
    empty_prediction: bool
    style: str = ""
    source: str = ""


def iou(prediction: NDArray[np.bool_], target: NDArray[np.bool_]) -> float:
    """Intersection over union in [0, 1] of two boolean (h, w) masks in the same frame.

    An empty target gives 1 when the prediction is empty too, else 0.

    Raises:
        ValueError: a mask is not boolean or not (h, w), or the two differ in size.

    >>> iou(np.array([[True, True]]), np.array([[True, False]]))
    0.5
    >>> iou(np.zeros((1, 2), bool), np.zeros((1, 2), bool))
    1.0
    """
    intersection, union = overlap(prediction, target)
    return intersection / union if union else 1.0


def overlap(prediction: NDArray[np.bool_], target: NDArray[np.bool_]) -> tuple[int, int]:
    """Pixels in both masks and pixels in either; see `iou` for shapes and errors."""
    for name, mask in (("prediction", prediction), ("target", target)):
        if mask.dtype != np.bool_ or mask.ndim != 2:
            raise ValueError(
                f"{name} is {mask.dtype} of shape {mask.shape}; expected bool (h, w): threshold it first"
            )
    if prediction.shape != target.shape:
        raise ValueError(
            f"prediction of {prediction.shape} and target of {target.shape} (h, w) pixels; "
            "expected one frame: resize the prediction to the target"
        )
    return int(np.count_nonzero(prediction & target)), int(np.count_nonzero(prediction | target))


def measure(
    sample_id: str,
    *,
    prediction: NDArray[np.bool_],
    target: NDArray[np.bool_],
    style: str = "",
    source: str = "",
) -> Record:
    """The record of one prediction; see `iou` for shapes and errors."""
    intersection, union = overlap(prediction, target)
    return Record(
        sample_id=sample_id,
        iou=intersection / union if union else 1.0,
        intersection=intersection,
        union=union,
        empty_target=not target.any(),
        empty_prediction=not prediction.any(),
        style=style,
        source=source,
    )


def summarise(records: Iterable[Record]) -> Table:
    """`{"overall": summary, "by_style": {style: summary}, "by_source": {source: summary}}`; see `summary`.

    Groups are sorted by name; records without a style (or source) appear in the overall numbers only.

    Raises:
        ValueError: there are no records, or a sample id comes twice.
    """
    listed = list(records)
    ids = [record.sample_id for record in listed]
    if not listed:
        raise ValueError("no records to summarise; the dataset (or its split) holds no sample")
    if len(set(ids)) != len(ids):
        raise ValueError(
            f"{len(ids) - len(set(ids))} sample ids come twice; expected one record a sample"
        )
    return {
        "overall": summary(listed),
        "by_style": _grouped(listed, [record.style for record in listed]),
        "by_source": _grouped(listed, [record.source for record in listed]),
    }


def summary(records: Sequence[Record]) -> Summary:
    """The numbers of a table row, each in [0, 1] unless said otherwise; None where nothing defines it.

    - samples: how many (a count); no_target: how many of them have an empty target (a count).
    - giou: mean IoU over all samples, samples without a target included.
    - ciou: sum of intersections over sum of unions; large regions weigh more. A false alarm on a sample without a
      target adds to the union. None when every union is 0.
    - p50 ... p90: share of the samples *with* a target whose IoU is >= 0.5 ... 0.9. None when there are none.
    - n_acc: share of the samples without a target whose prediction is empty. None when there are none.
    - t_acc: share of the samples with a target whose prediction is not empty. None when there are none.
    """
    ious = np.array([record.iou for record in records], np.float64)
    targeted = np.array([not record.empty_target for record in records], bool)
    answered = np.array([not record.empty_prediction for record in records], bool)
    union = sum(record.union for record in records)
    shares: Summary = {f"p{round(100 * t)}": _share(ious[targeted] >= t) for t in PRECISIONS}
    return {
        "samples": len(records),
        "no_target": int((~targeted).sum()),
        "giou": float(ious.mean()) if len(records) else None,
        "ciou": sum(record.intersection for record in records) / union if union else None,
        **shares,
        "n_acc": _share(~answered[~targeted]),
        "t_acc": _share(answered[targeted]),
    }


def _share(hits: NDArray[np.bool_]) -> float | None:
    return float(hits.mean()) if hits.size else None


def _grouped(records: Sequence[Record], names: Sequence[str]) -> dict[str, Summary]:
    return {
        name: summary([r for r, its in zip(records, names, strict=True) if its == name])
        for name in sorted(set(names) - {""})
    }
