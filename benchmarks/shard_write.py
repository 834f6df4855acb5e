"""Writing shards: sha256, fsync, rename and a receipt for each, against webdataset's writer, which has none of these.

Run: python -m benchmarks.shard_write (about 20 s). Target 3 times the samples per CPU-second (an unhashed prototype
wrote 5.2 times as many).
"""

import hashlib
import shutil
import tarfile
import tempfile
from pathlib import Path

from benchmarks.made_samples import encode_all, make_folders, make_samples, write_shards
from benchmarks.ratio import compare, require, run

SAMPLES, PER_SHARD = 512, 128


def measure() -> bool:
    """Both write the same members to the same disk."""
    require("webdataset")
    import webdataset

    encoded = encode_all(make_samples(SAMPLES))
    with tempfile.TemporaryDirectory() as folder:

        def ours() -> Path:
            root = Path(folder) / "ours"
            make_folders(root)
            write_shards(root, encoded, PER_SHARD)
            return root

        def peer() -> Path:
            root = Path(folder) / "peer"
            (root / "shards").mkdir(parents=True)
            pattern = str(root / "shards" / "train-%06d.tar")
            with webdataset.ShardWriter(pattern, maxcount=PER_SHARD, verbose=0) as writer:
                for key, members in encoded:
                    writer.write({"__key__": key, **dict(members)})
            return root

        return compare(
            f"write {SAMPLES} samples of {_mean_size(encoded)} kB in shards of {PER_SHARD}",
            ours=ours,
            peer=peer,
            peer_name="webdataset",
            same=lambda a, b: _take(Path(str(a))) == _take(Path(str(b))),
            target=3.0,
            units=SAMPLES,
        )


def _take(root: Path) -> list[tuple[str, str, str]]:
    """(shard, member, sha256) of everything in a folder's shards, by the standard library; removes the folder."""
    found: list[tuple[str, str, str]] = []
    for path in sorted(root.glob("shards/*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                file = tar.extractfile(member)
                assert file is not None
                digest = hashlib.sha256(file.read()).hexdigest()
                found.append((path.name, member.name, digest))
    shutil.rmtree(root)
    return sorted(found)


def _mean_size(encoded: list) -> int:
    return sum(len(data) for _, members in encoded for _, data in members) // len(encoded) // 1000


if __name__ == "__main__":
    run(measure)
