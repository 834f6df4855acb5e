"""What gold says of the machine's labels: their IoU at the stored size, for reports, bounds and audits.

Gold of role "audit" is looked at too, so nothing that learns may read this but where the sample's gold is of role
"train".
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.codec import JSON_SUFFIX, MASK_SUFFIX, decode_json, decode_mask_png, gold_of
from pipeline.reader import iterate_members
from trainer.data.protocol import Store
from trainer.data.table import Table, mask_iou


def label_ious(root: Path, store: Store) -> Tensor:
    """IoU of each sample's machine label with its gold of any role: float32 n in dataset order, NaN without gold.

    A table knows them; for another store of the dataset folder `root` its shards are read once more, masks only where
    there is gold.

    Raises:
        ValueError: a shard is damaged.
    """
    if isinstance(store, Table):
        return store.label_iou
    ious: NDArray[np.float32] = np.full(len(store), np.nan, np.float32)
    for row, (key, members) in enumerate(iterate_members(root)):
        gold = gold_of(decode_json(key, members[JSON_SUFFIX]))
        if gold is not None:
            label = decode_mask_png(key, members[MASK_SUFFIX]) >= 128
            ious[row] = mask_iou(label, gold.array())
    return torch.from_numpy(ious)
