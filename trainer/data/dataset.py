"""A dataset folder as a store: in memory when it is small enough, from its shards otherwise."""

from pathlib import Path

from pipeline.manifest import read_manifest
from trainer.data.config import DataConfig
from trainer.data.shard_store import ShardStore, open_shards
from trainer.data.table import Table, load_table

Opened = Table | ShardStore


def open_dataset(root: Path, config: DataConfig, *, oracle: bool = False) -> Opened:
    """The store that `config.cache` asks for; batches are the same from either.

    Raises:
        ValueError: the dataset is unfinished, damaged or empty.
    """
    in_memory = config.cache == "memory" or (
        config.cache == "auto" and memory_bytes(root, config) <= config.memory_mb << 20
    )
    make = load_table if in_memory else open_shards
    return make(root, size_hw=config.size_hw, oracle=oracle)


def memory_bytes(root: Path, config: DataConfig) -> int:
    """What the pixels of a table take at most: an image of its own and two masks for every sample."""
    h, w = config.size_hw
    return read_manifest(root).totals.committed * h * w * 5
