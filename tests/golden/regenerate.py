"""Write the golden shard and its sha256 again: `python -m tests.golden.regenerate`.

Only for a change of the format that is meant; say so in CHANGELOG.md and raise `pipeline.codec.FORMAT_VERSION`.
"""

from pathlib import Path

from pipeline.codec import encode_sample
from pipeline.shards import ShardWriter
from tests.pipeline.datasets_for_tests import samples

GOLDEN = Path(__file__).parent
SHARD = GOLDEN / "train-000000.tar"
SHA256 = GOLDEN / "train-000000.sha256"


def main() -> None:
    """Four samples: full with gold, bare, soft, full with audit gold."""
    with ShardWriter(SHARD) as writer:
        for sample in samples(4):
            writer.write(sample.id, encode_sample(sample, "jpg"))
    assert writer.stat
    SHA256.write_text(f"{writer.stat.sha256}  {SHARD.name}\n")


if __name__ == "__main__":
    main()
