"""Reading shards undecoded, sha256 and count verified, against webdataset, which verifies nothing.

Run: python -m benchmarks.shard_read (about 25 s). The peer reads once the shards that its own writer makes (with PAX
headers) and once ours (plain ustar, which it reads faster). Target 3.5 times the samples per CPU-second against the
former, 1.5 against the latter.
"""

import tempfile
from pathlib import Path

from benchmarks.made_samples import encode_all, make_samples, write_dataset
from benchmarks.ratio import compare, require, run
from pipeline.reader import iterate_members

SAMPLES, PER_SHARD = 1024, 256
Content = dict[str, dict[str, bytes]]


def measure_own() -> bool:
    """Each reads the shards of its own writer."""
    return _measure("its own shards", target=3.5, peer_reads_ours=False)


def measure_ours() -> bool:
    """Both read ours."""
    return _measure("our shards", target=1.5, peer_reads_ours=True)


def _measure(which: str, *, target: float, peer_reads_ours: bool) -> bool:
    require("webdataset")
    import webdataset

    with tempfile.TemporaryDirectory() as folder:
        root, theirs = Path(folder) / "ours", Path(folder) / "peer"
        encoded = encode_all(make_samples(SAMPLES))
        write_dataset(root, encoded, PER_SHARD)
        theirs.mkdir()
        pattern = str(theirs / "train-%06d.tar")
        with webdataset.ShardWriter(pattern, maxcount=PER_SHARD, verbose=0) as writer:
            for key, members in encoded:
                writer.write({"__key__": key, **dict(members)})
        shards = sorted(
            str(p) for p in ((root / "shards") if peer_reads_ours else theirs).iterdir()
        )

        def ours() -> Content:
            # copied out of the mapped file, as the peer's are: it has touched and owns every byte
            return {
                key: {suffix: bytes(view) for suffix, view in members.items()}
                for key, members in iterate_members(root)
            }

        def peer() -> Content:
            found = webdataset.WebDataset(shards, shardshuffle=False)
            return {
                s["__key__"]: {name: data for name, data in s.items() if not name.startswith("__")}
                for s in found
            }

        return compare(
            f"read {SAMPLES} samples raw, the peer from {which}",
            ours=ours,
            peer=peer,
            peer_name="webdataset",
            same=lambda a, b: a == b,
            target=target,
            units=SAMPLES,
        )


if __name__ == "__main__":
    run(measure_own, measure_ours)
