"""Sidecars: one row per sample, replaced as a whole."""

import pyarrow as pa
import pytest

from pipeline.sidecar import WEIGHTS, read_sidecar, sidecar_path, write_sidecar

ROWS = {"sample_id": ["a", "b"], "p_clean": [0.25, 0.75], "weight": [0.5, 1.5], "fold": [0, 1]}


def table(**changes):
    return pa.table({**ROWS, **changes}, schema=WEIGHTS)


def test_a_sidecar_is_read_back_with_its_types(tmp_path):
    path = write_sidecar(tmp_path, "weights", table())
    assert path == sidecar_path(tmp_path, "weights")
    back = read_sidecar(tmp_path, "weights")
    assert back.equals(table())
    assert back.schema.equals(WEIGHTS)


def test_the_same_table_gives_the_same_bytes(tmp_path):
    once = write_sidecar(tmp_path, "weights", table()).read_bytes()
    assert write_sidecar(tmp_path, "weights", table()).read_bytes() == once


def test_a_second_write_replaces_the_first_and_leaves_no_other_file(tmp_path):
    write_sidecar(tmp_path, "weights", table())
    write_sidecar(tmp_path, "weights", table(weight=[2.0, 0.0]))
    assert read_sidecar(tmp_path, "weights")["weight"].to_pylist() == [2.0, 0.0]
    assert [p.name for p in (tmp_path / "sidecars").iterdir()] == ["weights.parquet"]


def test_an_empty_sidecar_is_one(tmp_path):
    write_sidecar(tmp_path, "weights", WEIGHTS.empty_table())
    assert read_sidecar(tmp_path, "weights").num_rows == 0


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (pa.table({"id": ["a"]}), "expected sample_id among them"),
        (pa.table({"sample_id": ["a", "b", "a", "a"]}), "holds 2 sample ids twice"),
        (pa.table({"sample_id": ["a", None]}), "without a sample id"),
        (pa.table({"sample_id": [1, 2]}), "sample ids of type int64"),
    ],
)
def test_a_table_that_is_not_keyed_by_samples_is_refused(tmp_path, wrong, says):
    with pytest.raises(ValueError, match=says):
        write_sidecar(tmp_path, "weights", wrong)
    assert not sidecar_path(tmp_path, "weights").exists()


@pytest.mark.parametrize("name", ["../weights", "a/b", "", ".hidden", "a b"])
def test_a_name_that_leaves_the_folder_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="sidecar name"):
        write_sidecar(tmp_path, name, table())
    with pytest.raises(ValueError, match="sidecar name"):
        read_sidecar(tmp_path, name)


def test_a_missing_sidecar_is_named_beside_those_there_are(tmp_path):
    with pytest.raises(ValueError, match=r"no sidecar 'weights'; it has none"):
        read_sidecar(tmp_path, "weights")
    write_sidecar(tmp_path, "verdicts", table())
    with pytest.raises(ValueError, match=r"it has \['verdicts'\]"):
        read_sidecar(tmp_path, "weights")


@pytest.mark.parametrize("data", [b"", b"PAR1", b"x" * 100])
def test_a_damaged_sidecar_is_refused_by_name(tmp_path, data):
    write_sidecar(tmp_path, "weights", table()).write_bytes(data)
    with pytest.raises(ValueError, match=r"weights\.parquet is not readable"):
        read_sidecar(tmp_path, "weights")
