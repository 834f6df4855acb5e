"""Receipts and manifest: nothing lost, nothing outside the folder, nothing half-written."""

import json
from pathlib import Path

import pytest

from pipeline.manifest import (
    Manifest,
    Receipt,
    read_manifest,
    read_receipts,
    receipt_path,
    shard_name,
    total,
    write_json,
)
from pipeline.records import Reject
from tests.pipeline.datasets_for_tests import samples, write_dataset


def receipt(unit=0, **changes):
    """A receipt of 5 inputs: 2 committed, 2 rejected, 1 quarantined."""
    fields = {
        "unit": unit, "shard": shard_name("train", unit), "sha256": "0" * 64, "size": 4096, "recipe_hash": "1" * 64,
        "inputs": 5, "committed": 2, "rejected": {"keep/small": 2}, "quarantined": 1, "gold": 1,
        "licences": {"cc0": 2}, "faults": {}, "offsets": {"a": 0, "b": 2048}, "versions": {"maskmix": "0.1.0"},
    }  # fmt: skip
    return {**fields, **changes}


def store(root: Path, fields):
    path = receipt_path(root, "train", fields["unit"])
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(fields))
    return path


def test_a_receipt_is_written_and_read_back_the_same(tmp_path):
    path = receipt_path(tmp_path, "train", 0)
    path.parent.mkdir()
    write_json(path, Receipt.model_validate(receipt()))
    assert list(read_receipts(tmp_path)) == [Receipt.model_validate(receipt())]
    once = path.read_bytes()
    write_json(path, next(read_receipts(tmp_path)))
    assert path.read_bytes() == once
    assert once.endswith(b"}\n")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"committed": 3, "offsets": {"a": 0, "b": 1, "c": 2}}, "5 inputs but 3 committed"),
        ({"inputs": 6}, "6 inputs but 2 committed"),
        ({"rejected": {}}, "0 rejected"),
        ({"quarantined": 0}, "0 quarantined"),
        ({"offsets": {"a": 0}}, "2 committed but 1 offsets"),
        ({"shard": ""}, "offsets in shard ''"),
        ({"rejected": {"keep/small": -1, "keep/large": 3}}, "not a readable receipt"),
        ({"inputs": "5"}, "not a readable receipt"),
        ({"inputs": 5.0}, "not a readable receipt"),
        ({"inputs": True}, "not a readable receipt"),
        ({"surprise": 1}, "not a readable receipt"),
        ({"format": 2}, "not a readable receipt"),
        ({"shard": "../../etc/passwd"}, "not a readable receipt"),
        ({"shard": "/etc/train-000000.tar"}, "not a readable receipt"),
        ({"shard": "shards/../x/train-000000.tar"}, "not a readable receipt"),
        ({"shard": "shards/train-000000.tar\n"}, "not a readable receipt"),
    ],
)
def test_a_receipt_that_cannot_be_true_is_refused(tmp_path, changes, says):
    path = store(tmp_path, receipt(**changes))
    with pytest.raises(ValueError, match=says) as caught:
        list(read_receipts(tmp_path))
    assert path.name in str(caught.value) or "unit 0" in str(caught.value)


@pytest.mark.parametrize("field", sorted(receipt()))
def test_a_receipt_without_a_field_is_refused(tmp_path, field):
    fields = receipt()
    store(tmp_path, {**fields}).write_text(
        json.dumps({k: v for k, v in fields.items() if k != field})
    )
    with pytest.raises(ValueError, match=f"(?s)not a readable receipt.*{field}"):
        list(read_receipts(tmp_path))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"unit": NaN}'])
def test_a_damaged_receipt_is_refused_by_name(tmp_path, text):
    store(tmp_path, receipt()).write_text(text)
    with pytest.raises(ValueError, match=r"train-000000\.json is not a readable receipt"):
        list(read_receipts(tmp_path))


def test_a_cut_receipt_is_refused_wherever_it_is_cut(tmp_path):
    path = store(tmp_path, receipt())
    text = path.read_text()
    for length in range(0, len(text), 7):
        path.write_text(text[:length])
        with pytest.raises(ValueError, match="not a readable receipt"):
            list(read_receipts(tmp_path))


def test_receipts_come_in_unit_order_also_beyond_six_digits(tmp_path):
    units = [2, 999_999, 10, 1_000_000, 0]
    for unit in units:
        store(tmp_path, receipt(unit))
    assert [r.unit for r in read_receipts(tmp_path)] == sorted(units)


def test_a_folder_without_receipts_has_none(tmp_path):
    assert list(read_receipts(tmp_path)) == []


def test_totals_are_the_sums():
    one = Receipt.model_validate(receipt(rejected={"keep/small": 1, "source/image-cut": 1}))
    two = Receipt.model_validate(receipt(1, licences={"mit": 1, "cc0": 1}, faults={"owl": 1}))
    sums = total([one, two])
    assert (sums.inputs, sums.committed, sums.quarantined, sums.gold) == (10, 4, 2, 2)
    assert sums.rejected == {"keep/small": 3, "source/image-cut": 1}
    assert sums.licences == {"cc0": 3, "mit": 1}
    assert sums.faults == {"owl": 1}
    assert total([]).inputs == 0


def test_a_manifest_is_read_back_and_counts_every_input(tmp_path):
    turned_away = [Reject(sample_id="x", stage="keep", reason="small", detail="")]
    manifest = write_dataset(tmp_path, samples(5), rejects=turned_away, quarantined=2)
    assert read_manifest(tmp_path) == manifest
    totals = manifest.totals
    assert totals.inputs == 8
    assert totals.committed + sum(totals.rejected.values()) + totals.quarantined == totals.inputs


def test_a_missing_manifest_says_what_the_folder_is(tmp_path):
    with pytest.raises(ValueError, match=r"holds no manifest\.json: no maskmix dataset"):
        read_manifest(tmp_path)
    (tmp_path / "receipts").mkdir()
    with pytest.raises(ValueError, match="unfinished build; run `maskmix build` again"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("change", [{"format": 1}, {"shards": "one"}, {"units": "3"}, {"x": 1}])
def test_a_manifest_of_another_format_is_refused(tmp_path, change):
    write_dataset(tmp_path, samples(1))
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match=r"manifest\.json is not a readable manifest"):
        read_manifest(tmp_path)


def test_no_nan_gets_into_a_manifest(tmp_path):
    manifest = write_dataset(tmp_path, samples(1)).model_dump()
    broken = Manifest.model_validate({**manifest, "recipe": {"seed": float("nan")}})
    before = (tmp_path / "manifest.json").read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "manifest.json", broken)
    assert (tmp_path / "manifest.json").read_bytes() == before
