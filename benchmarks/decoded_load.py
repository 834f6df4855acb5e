"""Samples ready to use: verified, json parsed and checked, image and mask decoded, against webdataset and Pillow.

Run: python -m benchmarks.decoded_load (about 25 s). Decoding the JPEG dominates both sides; a faster reader cannot give
more than this. Target 1.2 times the samples per CPU-second.
"""

import io
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.made_samples import encode_all, make_samples, write_dataset
from benchmarks.ratio import compare, require, run
from pipeline.intake.images import decode
from pipeline.reader import iterate_samples

SAMPLES, PER_SHARD = 192, 64
KEPT = 8
"""Every so many samples are kept and compared; keeping all would measure page faults."""
Loaded = list[tuple[str, tuple[str, ...], NDArray[np.uint8], NDArray[np.uint8]]]


def measure() -> bool:
    """Both give id, instructions, RGB image and mask of every sample."""
    require("webdataset")
    import webdataset
    from PIL import Image

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_dataset(root, encode_all(make_samples(SAMPLES)), PER_SHARD)
        shards = sorted(str(path) for path in (root / "shards").iterdir())

        def ours() -> Loaded:
            loaded: Loaded = []
            for number, sample in enumerate(iterate_samples(root)):
                assert sample.label is not None
                item = (sample.id, sample.instructions, decode(sample.image), sample.label.mask)
                if number % KEPT == 0:
                    loaded.append(item)
            return loaded

        def peer() -> Loaded:
            loaded: Loaded = []
            for number, s in enumerate(webdataset.WebDataset(shards, shardshuffle=False)):
                image = np.asarray(Image.open(io.BytesIO(s["jpg"])).convert("RGB"))
                mask = np.asarray(Image.open(io.BytesIO(s["mask.png"])))
                fields = json.loads(s["json"])
                item = (s["__key__"], tuple(fields["instructions"]), image, mask)
                if number % KEPT == 0:
                    loaded.append(item)
            return loaded

        return compare(
            f"load {SAMPLES} samples of 640x480 decoded",
            ours=ours,
            peer=peer,
            peer_name="webdataset",
            same=_same,
            target=1.2,
            units=SAMPLES,
        )


def _same(ours: Any, theirs: Any) -> bool:
    """Equal ids, words and masks; images apart by what two JPEG decoders may differ in."""
    if len(ours) != len(theirs):
        return False
    return all(
        a[:2] == b[:2]
        and np.array_equal(a[3], b[3])
        and int(np.abs(a[2].astype(np.int16) - b[2]).max()) <= 2
        for a, b in zip(ours, theirs, strict=True)
    )


if __name__ == "__main__":
    run(measure)
