"""How well p_clean tells good labels from bad ones, and gold from machine labels without looking at a mask."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from annotators.calibration import reliability_bins
from trainer.data.protocol import Store
from trainer.data.tokens import Tokenizer, learn_tokenizer
from trainer.losses import SAME

PROBED = 20_000
"""Samples that the leakage probe looks at, at most."""
AT_ONCE = 256
"""Samples whose pixels are in memory together."""


def measure_scores(
    is_gold: NDArray[np.bool_], label_ious: NDArray[np.float32], scores: NDArray[np.float64]
) -> dict[str, Any]:
    """AUCs, ROC and reliability of p_clean; the parts that need audit gold are null or empty without it.

    Args:
        is_gold: bool n, the samples whose target is gold.
        label_ious: float32 n, of the machine's labels with gold, NaN where nobody knows.
        scores: p_clean, float64 n in [0, 1].
    """
    from sklearn.metrics import roc_curve

    audited = ~is_gold & np.isfinite(label_ious)
    good = label_ious[audited] >= SAME
    judged = scores[audited]
    roc: dict[str, list[float]] = {"fpr": [], "tpr": []}
    reliability: list[dict[str, Any]] = []
    if 0 < good.sum() < len(good):
        fpr, tpr, _ = roc_curve(good, judged)
        thin = np.unique(np.linspace(0, len(fpr) - 1, min(len(fpr), 101)).round().astype(int))
        roc = {
            "fpr": [round(float(x), 5) for x in fpr[thin]],
            "tpr": [round(float(x), 5) for x in tpr[thin]],
        }
    if len(good):
        reliability = [
            {
                "lo": b.lo,
                "hi": b.hi,
                "n": b.n,
                "p_mean": round(b.mean, 5),
                "good_share": round(b.share, 5),
            }
            for b in reliability_bins(judged, good)
        ]
    return {
        "auc_gold_vs_machine": _auc(is_gold, scores),
        "auc_good_vs_bad": _auc(good, judged),
        "reliability": reliability,
        "roc": roc,
    }


def leakage_auc(store: Store, fold_of: NDArray[np.int64]) -> float | None:
    """How well a linear probe on image and text alone tells gold samples from machine ones, out of sample.

    What it finds has nothing to do with masks: 0.5 says that the data sets cannot be told apart without looking at
    the labels. Features are an 8x8 thumbnail and the words of the first phrasing. Of more than `PROBED` samples an
    even choice is probed, gold for half of it where there is so much.
    """
    from sklearn.linear_model import LogisticRegression

    rows = _probed(store.is_gold.numpy(), most=PROBED)
    texts = [store.instructions[row][0] for row in rows.tolist()]
    tokenizer = learn_tokenizer(texts, max_words=256)
    x = torch.cat([_thumbnails(store, rows) - 0.5, _bag(texts, tokenizer)], 1).numpy()
    y, fold_of = store.is_gold.numpy()[rows], fold_of[rows]
    scores = np.zeros(len(y))
    for fold in np.unique(fold_of):
        mine = fold_of == fold
        probe = LogisticRegression(C=0.1, class_weight="balanced", max_iter=500)
        scores[mine] = probe.fit(x[~mine], y[~mine]).decision_function(x[mine])
    return _auc(y, scores)


def _probed(is_gold: NDArray[np.bool_], *, most: int) -> NDArray[np.int64]:
    """Rows, ascending: all of them, or `most`, evenly taken from gold and from the rest."""
    if len(is_gold) <= most:
        return np.arange(len(is_gold))
    gold, machine = np.flatnonzero(is_gold), np.flatnonzero(~is_gold)
    of_gold = min(len(gold), max(most // 2, most - len(machine)))
    kept = [gold[_evenly(len(gold), of_gold)], machine[_evenly(len(machine), most - of_gold)]]
    return np.sort(np.concatenate(kept))


def _evenly(n: int, count: int) -> NDArray[np.int64]:
    return np.arange(count) * n // max(count, 1)


def _thumbnails(store: Store, rows: NDArray[np.int64]) -> Tensor:
    """float32 n192 in [0, 1]."""
    parts = [rows[start : start + AT_ONCE] for start in range(0, len(rows), AT_ONCE)]
    pool = torch.nn.functional.adaptive_avg_pool2d
    return torch.cat([pool(store.frames(p).image.float() / 255.0, 8).flatten(1) for p in parts])


def _bag(texts: Sequence[str], tokenizer: Tokenizer) -> Tensor:
    tokens = tokenizer.encode(texts)
    bag = torch.zeros(len(texts), tokenizer.size)
    bag.scatter_(1, tokens, 1.0)
    return bag[:, 1:]


def _auc(positive: NDArray[np.bool_], scores: NDArray[np.float64]) -> float | None:
    from sklearn.metrics import roc_auc_score

    if not 0 < positive.sum() < len(positive):
        return None
    return round(float(roc_auc_score(positive, scores)), 5)
