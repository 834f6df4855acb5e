"""RefCOCO's numbers as its papers give them: one sample a *sentence*, overall and mean IoU, P@t, a row for each split.

Every sentence that people wrote about an object is asked and counts once, also one that stands twice in a ref (it is
predicted once and counts twice). Masks are compared at the size of the photograph; the target is the union of the
annotations' polygons. What the well-known evaluations do, read in their source, and where they differ:

| | LAVT `test.py` | CRIS `engine.py` | LISA `train_ds.py` | GRES `refer_evaluation.py` |
|---|---|---|---|---|
| sentences | all (`raw`) | all | all (`sent`, lower case) | all (`raw`) |
| frame | both masks squashed to 480 px | the photograph's | the photograph's | the photograph's |
| P@t counts | IoU >= t | IoU > t | - | IoU >= t, of sentences with a target |
| both masks empty | IoU 0 | IoU 0 | IoU 1 | IoU 1 where there is no target |
| names | overall IoU, mean IoU | IoU (the mean) | cIoU, gIoU | cIoU, gIoU, N-acc, T-acc |

So there are three protocols. "refcoco" is LAVT's at the photograph's size, "refcoco-strict" has CRIS's `>`, "grefcoco"
is GRES's; both forms of P@t differ only where an IoU is t exactly. Not repeated: where polygons of one annotation
overlap, LAVT and LISA add them up and so lose the pixels that lie in two. GRES decides "no target" by a classifier of
its own; here an empty mask says so, and a mask of fewer than `least_pixels` is taken as empty.

Yu et al. (arXiv 1608.00272); LAVT (2112.02244); CRIS (2111.15174); LISA (2308.00692); GRES (2306.00968).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from trainer.measure.metrics import PRECISIONS, overlap

Protocol = Literal["refcoco", "refcoco-strict", "grefcoco"]
SPLITS = ("train", "val", "testA", "testB", "test")
"""The order of rows; other splits follow by name."""
Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """What the prediction for one sentence was worth, in pixels of the photograph.

    `times` is how often the sentence stands in its ref. `no_target`: the ref has no annotation (gRefCOCO).
    """

    dataset: str
    split: str
    ref: str
    image: str
    times: int
    intersection: int
    union: int
    answered: bool
    """The predicted mask is not empty."""
    no_target: bool


def score(
    *,
    dataset: str,
    split: str,
    ref: str,
    image: str,
    times: int,
    prediction: NDArray[np.bool_],
    target: NDArray[np.bool_],
    no_target: bool,
    least_pixels: int = 1,
) -> Sentence:
    """The worth of one predicted mask, bool (h, w) as the target.

    Raises:
        ValueError: the masks are of another kind or of different sizes.
    """
    if np.count_nonzero(prediction) < least_pixels:
        prediction = np.zeros_like(prediction)
    intersection, union = overlap(prediction, target)
    return Sentence(
        dataset=dataset, split=split, ref=ref, image=image, times=times, intersection=intersection, union=union,
        answered=bool(prediction.any()), no_target=no_target,
    )  # fmt: skip


def check_protocol(name: str) -> Protocol:
    """The protocol of that name.

    Raises:
        ValueError: there is none.
    """
    for known in get_args(Protocol):
        if name == known:
            return known
    raise ValueError(f"protocol {name!r} is unknown; expected one of {', '.join(get_args(Protocol))}")  # fmt: skip


def rows(sentences: Sequence[Sentence], protocol: Protocol) -> list[Row]:
    """A row of numbers for each dataset and split, in published order; see `row`.

    Raises:
        ValueError: there are no sentences; or some have no target, and the protocol does not know that.
    """
    if not sentences:
        raise ValueError(
            "no sentences to measure; the dataset (or its split) holds no ref with gold"
        )
    absent = [sentence for sentence in sentences if sentence.no_target]
    if absent and protocol != "grefcoco":
        raise ValueError(
            f"{len(absent)} sentences have no target, first of {absent[0].ref!r}; {protocol!r} does not say what they "
            "count: measure with --protocol grefcoco"
        )
    keys = {(s.dataset, s.split) for s in sentences}
    return [
        {
            "dataset": dataset,
            "split": split,
            **row([s for s in sentences if (s.dataset, s.split) == (dataset, split)], protocol),
        }
        for dataset, split in sorted(keys, key=lambda key: (key[0], place(key[1]), key[1]))
    ]


def place(split: str) -> int:
    """Where a split stands in a published table."""
    return SPLITS.index(split) if split in SPLITS else len(SPLITS)


def row(sentences: Sequence[Sentence], protocol: Protocol) -> Row:
    """The numbers of one split, shares in [0, 1]; None where nothing defines one.

    - images, refs, sentences, no_target: counts; a sentence that stands twice counts twice.
    - oiou: sum of intersections over sum of unions ("overall IoU"; GRES and LISA: cIoU).
    - miou: mean of the sentences' IoU ("mean IoU"; GRES and LISA: gIoU).
    - p50 ... p90: share of the sentences with a target whose IoU is >= t; > t in "refcoco-strict".
    - n_acc, t_acc ("grefcoco"): share of the sentences without a target that got an empty mask; share of those with
      one that did not.
    """
    times = np.array([s.times for s in sentences], np.float64)
    inner = np.array([s.intersection for s in sentences], np.float64)
    union = np.array([s.union for s in sentences], np.float64)
    targeted = np.array([not s.no_target for s in sentences], bool)
    answered = np.array([s.answered for s in sentences], bool)
    both_empty = np.where(targeted, 0.0, 1.0)
    ious = np.where(union > 0, inner / np.maximum(union, 1.0), both_empty)
    total = float((times * union).sum())
    numbers: Row = {
        "images": len({s.image for s in sentences}),
        "refs": len({s.ref for s in sentences}),
        "sentences": int(times.sum()),
        "no_target": int(times[~targeted].sum()),
        "oiou": float((times * inner).sum()) / total if total else None,
        "miou": float((times * ious).sum() / times.sum()),
    }
    for t in PRECISIONS:
        hits = ious > t if protocol == "refcoco-strict" else ious >= t
        numbers[f"p{round(100 * t)}"] = _share(hits, times, targeted)
    if protocol == "grefcoco":
        numbers["n_acc"] = _share(~answered, times, ~targeted)
        numbers["t_acc"] = _share(answered, times, targeted)
    return numbers


def table_text(table: Sequence[Row], protocol: Protocol) -> str:
    """Percentages in the layout of the papers, a line for each split: P@t, overall and mean IoU; or GRES's columns."""
    if protocol == "grefcoco":
        columns = {"gIoU": "miou", "cIoU": "oiou", "N-acc": "n_acc", "T-acc": "t_acc"}
        columns |= {f"P@{t}": f"p{round(100 * t)}" for t in PRECISIONS if t >= 0.7}
    else:
        columns = {f"P@{t}": f"p{round(100 * t)}" for t in PRECISIONS}
        columns |= {"oIoU": "oiou", "mIoU": "miou"}
    width = max(7, *(len(line["dataset"]) for line in table))
    names = "".join(f" {name:>6}" for name in columns)
    lines = [f"{'dataset':<{width}} {'split':<6} {'sentences':>9}{names}"]
    for line in table:
        values = [line[key] for key in columns.values()]
        cells = "".join(f" {'-':>6}" if v is None else f" {100 * v:6.2f}" for v in values)
        lines.append(f"{line['dataset']:<{width}} {line['split']:<6} {line['sentences']:>9}{cells}")
    return "\n".join(lines)


def _share(
    hits: NDArray[np.bool_], times: NDArray[np.float64], among: NDArray[np.bool_]
) -> float | None:
    count = float(times[among].sum())
    return float(times[hits & among].sum()) / count if count else None
