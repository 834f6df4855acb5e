"""Which labels an out-of-sample model contradicts with confidence, by cleanlab: a sidecar for one of DWSL's rivals.

Confident Learning (arXiv 1911.00068) asks for predictions of a model that has not learnt from the label. The fold that
judges a sample has a guess of its own, made from image and text alone by a model that never saw the image; its pixels
are the predictions. `cleanlab.segmentation.filter` estimates how many pixels are labelled wrongly and names them, fold
by fold, since each fold's model has a confidence of its own; `cleanlab.segmentation.rank` scores the sample (softmin,
arXiv 2307.05080).

cleanlab says nothing about when a mask is wrong as a whole. Ours: when its wrong pixels are more than a share
(`discriminate.confident_share`) of what label and guess mark together, which is one minus their IoU, counted over the
pixels that cleanlab is sure of. At 0.5 that is the line between good and bad used everywhere here.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from pipeline.sidecar import write_sidecar
from trainer.data.protocol import Store
from trainer.models.frozen.embeddings import EmbeddingCache
from trainer.models.judge import Judge
from trainer.models.looking import guess_of, look_through
from trainer.models.protocol import TextTokens

SIDECAR = "confident"
CONFIDENT = pa.schema(
    [
        ("sample_id", pa.string()),
        ("label_quality", pa.float32()),
        ("issue_share", pa.float32()),
        ("is_issue", pa.bool_()),
    ]
)
PIXELS = 1_000_000
"""Pixels that cleanlab looks at together; changes no number."""


@torch.no_grad()
def find_issues(
    model: Judge, store: Store, *, tokenizer: TextTokens, cache: EmbeddingCache | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """cleanlab's score of each sample's target, 1 = clean, and the share of its region that is wrong: float64 n, n.

    Raises:
        ValueError: cleanlab is not installed, or the discriminator does not guess.
    """
    try:
        from cleanlab.segmentation.filter import find_label_issues
        from cleanlab.segmentation.rank import get_label_quality_scores
    except ImportError as error:
        raise ValueError(
            "discriminate.confident needs cleanlab; pip install 'maskmix[label-quality]'"
        ) from error

    height, width = store.size_hw
    labels = np.empty((len(store), height, width), np.int64)
    marked = np.empty((len(store), height, width), np.float32)
    for where, frames, sight in look_through(model, store, tokenizer=tokenizer, cache=cache):
        marked[where] = guess_of(sight, wanted_by="discriminate.confident")
        labels[where] = frames.target.numpy() >= 128
    probabilities = np.stack([1.0 - marked, marked], 1)
    quality, _ = get_label_quality_scores(labels, probabilities, verbose=False)
    wrong = find_label_issues(labels, probabilities, batch_size=PIXELS, n_jobs=1, verbose=False)
    region = ((labels == 1) | (marked > 0.5)).sum((1, 2))
    return np.clip(quality, 0.0, 1.0), wrong.sum((1, 2)) / np.maximum(region, 1)


def write_issues(
    root: Path, *, ids: Sequence[str], quality: NDArray[np.float64], issues: NDArray[np.float64],
    share: float,
) -> None:  # fmt: skip
    """`sidecars/confident.parquet` (data_cards/FORMAT.md)."""
    columns = {
        "sample_id": list(ids),
        "label_quality": quality.astype(np.float32),
        "issue_share": issues.astype(np.float32),
        "is_issue": issues > share,
    }
    write_sidecar(root, SIDECAR, pa.table(columns, schema=CONFIDENT))
