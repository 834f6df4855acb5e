"""What the trust section reads, and what it says of damaged sidecars."""

import json

import pytest

from pipeline.report.facts import short_names
from pipeline.report.trust import trust
from tests.pipeline.report.inputs import write_learnt


def test_without_a_sidecar_there_is_nothing_to_say(tmp_path):
    assert trust(tmp_path) is None


def test_cells_tell_how_much_a_vote_tells(tmp_path):
    write_learnt(tmp_path)
    found = trust(tmp_path)
    assert found is not None
    assert found["styles"] == [("all", 4), ("phrase", 16)]
    first = [cell["informed"] for cell in found["rows"][0]["cells"]]
    assert first == pytest.approx([0.91, 0.86])
    assert found["rows"][1]["cells"][0]["informed"] == 0.0


def test_reliability_alone_is_enough(tmp_path):
    write_learnt(tmp_path)
    (tmp_path / "sidecars" / "calibration.json").unlink()
    found = trust(tmp_path)
    assert found is not None
    assert found["calibration"] is None


@pytest.mark.parametrize(("name", "field"), [("reliability", "iterations"), ("calibration", "n")])
def test_a_sidecar_that_lacks_a_field_is_named(tmp_path, name, field):
    write_learnt(tmp_path)
    path = tmp_path / "sidecars" / f"{name}.json"
    table = json.loads(path.read_text())
    del table[field]
    path.write_text(json.dumps(table))
    with pytest.raises(ValueError, match=rf"{name}.json is damaged: KeyError\('{field}'\)"):
        trust(tmp_path)


def test_names_are_short_while_they_are_unique():
    assert short_names(["a@x", "b"]) == {"a@x": "a", "b": "b"}
    assert short_names(["a@1234567", "a"]) == {"a@1234567": "a #123456", "a": "a #default"}
