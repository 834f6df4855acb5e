"""A dataset with the scores of its weights sidecar (pipeline.sidecar.WEIGHTS), joined by sample id."""

from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import torch

from pipeline.sidecar import read_sidecar
from trainer.data.protocol import Store
from trainer.data.shard_store import ShardStore
from trainer.data.table import Table

S = TypeVar("S", bound=Table | ShardStore)


def with_weights(store: S, root: Path, *, sidecar: str = "weights") -> S:
    """`store` with `p_clean` and `weight` of the sidecar.

    Raises:
        ValueError: there is no such sidecar, it does not score every sample, or a score is out of its range.
    """
    scores = read_sidecar(root, sidecar)
    ids = pa.array(store.ids, pa.string())
    rows = pc.index_in(ids, value_set=scores["sample_id"])  # pyright: ignore[reportAttributeAccessIssue]
    if rows.null_count:
        first = store.ids[rows.is_null().index(True).as_py()]
        raise ValueError(
            f"sidecar {sidecar!r} of {root} lacks {rows.null_count} samples, first {first!r}; "
            "it is of another build: run `maskmix discriminate` again"
        )
    p_clean, weight = (
        torch.from_numpy(scores[name].take(rows).to_numpy().astype("float32", copy=True))
        for name in ("p_clean", "weight")
    )
    odd = ~(torch.isfinite(weight) & (weight >= 0) & (p_clean >= 0) & (p_clean <= 1))
    if bool(odd.any()):
        at = int(odd.nonzero()[0])
        raise ValueError(
            f"sidecar {sidecar!r} of {root}: {int(odd.sum())} samples have a p_clean outside [0, 1] or a weight that "
            f"is negative or not finite, first {store.ids[at]!r} ({float(p_clean[at])}, {float(weight[at])})"
        )
    return replace(store, p_clean=p_clean, weight=weight)


def in_fold(store: Store, root: Path, fold: int, *, sidecar: str = "weights") -> torch.Tensor:
    """bool n: the samples of one fold of the weights sidecar; a fold holds all samples of its images or none.

    Raises:
        ValueError: there is no such sidecar, it does not know every sample, or the fold holds none or all of them.
    """
    table = read_sidecar(root, sidecar).select(["sample_id", "fold"]).to_pydict()
    fold_of = dict(zip(table["sample_id"], table["fold"], strict=True))
    inside = torch.tensor([fold_of.get(sample_id) == fold for sample_id in store.ids])
    missing = sum(sample_id not in fold_of for sample_id in store.ids)
    if missing or not bool(inside.any()) or bool(inside.all()):
        raise ValueError(
            f"fold {fold} of sidecar {sidecar!r} of {root} holds {int(inside.sum())} of {len(inside)} samples and "
            f"{missing} are in no fold; expected some of them: run `maskmix discriminate` again"
        )
    return inside
