"""A shard that was written once and committed: today's code must read it, and write it again byte for byte.

Image and mask bytes come from encoders whose output may change with their version, so those are taken from the shard;
everything the project itself decides is made anew.
"""

import hashlib
import tarfile
from pathlib import Path

import numpy as np

from pipeline.codec import decode_sample, encode_sample
from pipeline.shards import ShardWriter, read_shard
from tests.golden.regenerate import SHA256, SHARD
from tests.pipeline.datasets_for_tests import samples

PROMISED = SHA256.read_text().split()[0]


def test_the_golden_shard_is_the_committed_one():
    assert hashlib.sha256(SHARD.read_bytes()).hexdigest() == PROMISED


def test_todays_reader_understands_it():
    read = [decode_sample(k, m) for k, m in read_shard(SHARD, sha256=PROMISED, count=4)]
    made = samples(4)
    assert [s.id for s in read] == ["full-0000", "bare-0001", "soft-0002", "full-0003"]
    for got, expected in zip(read, made, strict=True):
        assert got.label
        assert expected.label
        assert np.array_equal(got.label.mask, expected.label.mask)
        for name in ("instructions", "style", "size_hw", "gold", "gold_role", "extra", "faults"):
            assert getattr(got, name) == getattr(expected, name), name
        for name in ("phrases", "proposals", "candidates"):
            assert getattr(got, name) == (getattr(expected, name) or ()), name
        assert got.quality == expected.quality


def test_todays_codec_writes_the_same_json():
    for key, members in read_shard(SHARD, sha256=PROMISED, count=4):
        again = dict(encode_sample(decode_sample(key, members), "jpg"))
        assert again["json"] == bytes(members["json"])
        assert again["jpg"] == bytes(members["jpg"])


def test_todays_writer_gives_the_same_bytes(tmp_path: Path):
    with ShardWriter(tmp_path / SHARD.name) as writer:
        for key, members in read_shard(SHARD, sha256=PROMISED, count=4):
            writer.write(key, [(suffix, bytes(data)) for suffix, data in members.items()])
    assert (tmp_path / SHARD.name).read_bytes() == SHARD.read_bytes()


def test_pythons_tarfile_sees_bare_ustar_members_in_order():
    with tarfile.open(SHARD) as archive:
        infos = archive.getmembers()
    assert [i.name for i in infos][:3] == ["full-0000.jpg", "full-0000.mask.png", "full-0000.json"]
    assert len(infos) == 12
    for info in infos:
        assert (info.mtime, info.uid, info.gid, info.mode) == (0, 0, 0, 0o644)
        assert info.isreg()
        assert not info.pax_headers
        assert info.uname == info.gname == ""
