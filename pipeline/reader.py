"""Reads a finished dataset folder: every shard verified against its receipt before a sample is handed out."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.codec import decode_sample
from pipeline.manifest import Receipt, read_manifest, read_receipts
from pipeline.records import Sample
from pipeline.shards import Members, read_shard


def checked_shards(root: Path) -> list[tuple[Path, Receipt]]:
    """The shards of a finished dataset in order, each with the receipt that says what must be in it.

    Raises:
        ValueError: the dataset is unfinished, or a shard is missing. What the shards hold is not looked at.
    """
    manifest = read_manifest(root)
    receipts = {r.shard: r for r in read_receipts(root) if r.shard}
    if sorted(receipts) != sorted(manifest.shards):
        odd = sorted(set(receipts) ^ set(manifest.shards))
        raise ValueError(
            f"{root}: manifest and receipts disagree about {odd}; run `maskmix verify {root}`"
        )
    for shard in manifest.shards:
        if not (root / shard).exists():
            raise ValueError(
                f"{root}: shard {shard} is missing; delete its receipt and run the build again"
            )
    return [(root / shard, receipts[shard]) for shard in manifest.shards]


def iterate_members(root: Path) -> Iterator[tuple[str, Members]]:
    """(id, members by suffix) of every sample, in dataset order, undecoded.

    Raises:
        ValueError: the dataset is unfinished, or a shard is missing, cut, damaged or not what its receipt says.
    """
    for path, receipt in checked_shards(root):
        yield from read_shard(path, sha256=receipt.sha256, count=receipt.committed)


def iterate_samples(root: Path) -> Iterator[Sample]:
    """Every committed sample of a dataset folder, in order, verified and decoded."""
    for key, members in iterate_members(root):
        yield decode_sample(key, members)
