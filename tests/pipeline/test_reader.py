"""The reader hands out what receipts promise, or says what is wrong and what to do."""

import json
import shutil

import pytest

from pipeline.codec import decode_sample
from pipeline.manifest import receipt_path
from pipeline.reader import iterate_members, iterate_samples
from pipeline.records import Reject
from tests.pipeline.datasets_for_tests import samples, write_dataset

REJECT = Reject(sample_id="x", stage="keep", reason="small", detail="")


@pytest.fixture
def dataset(tmp_path):
    """Five samples in three shards, and a unit whose only input was rejected."""
    write_dataset(tmp_path / "set", samples(5), unit_size=2, rejects=[REJECT])
    return tmp_path / "set"


def test_every_sample_comes_back_in_order(dataset):
    expected = samples(5)
    got = list(iterate_samples(dataset))
    assert [s.id for s in got] == [s.id for s in expected]
    assert [s.instructions for s in got] == [s.instructions for s in expected]
    assert [s.image for s in got] == [s.image for s in expected]
    assert [s.gold for s in got] == [s.gold for s in expected]
    assert [s.label.mask.tolist() for s in got] == [s.label.mask.tolist() for s in expected]


def test_raw_members_decode_to_the_same_samples(dataset):
    ids = [decode_sample(key, members).id for key, members in iterate_members(dataset)]
    assert ids == [s.id for s in iterate_samples(dataset)]


def test_a_dataset_in_which_everything_was_rejected_is_empty(tmp_path):
    write_dataset(tmp_path, [], rejects=[REJECT])
    assert list(iterate_samples(tmp_path)) == []


def test_a_dataset_reads_the_same_wherever_it_is_moved(dataset, tmp_path):
    before = [s.id for s in iterate_samples(dataset)]
    shutil.move(dataset, tmp_path / "elsewhere")
    assert [s.id for s in iterate_samples(tmp_path / "elsewhere")] == before


def test_an_unfinished_dataset_is_refused(dataset):
    (dataset / "manifest.json").unlink()
    with pytest.raises(ValueError, match="unfinished build"):
        next(iterate_members(dataset))


def test_a_missing_shard_is_named(dataset):
    (dataset / "shards" / "train-000001.tar").unlink()
    with pytest.raises(ValueError, match=r"shard shards/train-000001\.tar is missing"):
        list(iterate_members(dataset))


def test_a_missing_receipt_is_named(dataset):
    receipt_path(dataset, "train", 1).unlink()
    with pytest.raises(ValueError, match=r"disagree about \['shards/train-000001\.tar'\]"):
        list(iterate_members(dataset))


def test_swapped_shards_are_seen(dataset):
    one, two = (dataset / "shards" / f"train-00000{n}.tar" for n in (0, 1))
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content)
    with pytest.raises(ValueError, match=r"train-000000\.tar has sha256"):
        list(iterate_members(dataset))


def test_samples_before_a_damaged_shard_are_whole_and_none_of_it_is_handed_out(dataset):
    path = dataset / "shards" / "train-000001.tar"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    path.write_bytes(data)
    reading = iterate_members(dataset)
    assert [next(reading)[0] for _ in range(2)] == [s.id for s in samples(2)]
    with pytest.raises(ValueError, match=r"train-000001\.tar has sha256"):
        next(reading)


def test_a_receipt_with_another_count_is_seen(dataset):
    path = receipt_path(dataset, "train", 0)
    fields = json.loads(path.read_text())
    fields.update(inputs=1, committed=1, offsets={"full-0000": 0})
    path.write_text(json.dumps(fields))
    with pytest.raises(ValueError, match="holds 2 samples, its receipt says 1"):
        list(iterate_members(dataset))


def test_a_shard_outside_the_folder_is_never_opened(dataset):
    path = receipt_path(dataset, "train", 0)
    fields = json.loads(path.read_text())
    fields["shard"] = "../outside.tar"
    path.write_text(json.dumps(fields))
    with pytest.raises(ValueError, match="not a readable receipt"):
        list(iterate_members(dataset))
