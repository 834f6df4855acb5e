"""A finished dataset as a source: what stays, what is made anew, and what damage is noticed."""

import pytest

from pipeline.reader import iterate_samples
from pipeline.source import Voted
from pipeline.sources import shards
from tests.pipeline.datasets_for_tests import samples, write_dataset


@pytest.fixture
def dataset(tmp_path):
    write_dataset(tmp_path / "set", samples(7), unit_size=3)
    return tmp_path / "set"


def source(root, **options):
    return shards.make(shards.Config(path=root, **options), "jpg")


def test_samples_come_in_the_order_of_the_dataset_and_any_can_be_asked_for(dataset):
    made = source(dataset)
    stored = list(iterate_samples(dataset))
    assert len(made) == len(stored) == 7
    for index in (6, 0, 3, 5, 1, 2, 4, 0):
        assert made.load(index).id == stored[index].id
    assert source(dataset).load(4).candidates == stored[4].candidates


@pytest.mark.parametrize(
    ("keep", "there"),
    [
        ("candidates", {"phrases", "proposals", "candidates"}),
        ("proposals", {"phrases", "proposals"}),
        ("phrases", {"phrases"}),
    ],
)
def test_the_line_is_kept_up_to_where_it_is_made_again(dataset, keep, there):
    made = source(dataset, keep=keep)
    assert made.fills == there
    stored = next(iter(iterate_samples(dataset)))
    loaded = made.load(0)
    for field in ("phrases", "proposals", "candidates", "label", "quality"):
        assert getattr(loaded, field) == (getattr(stored, field) if field in there else None)
    for field in ("id", "image", "instructions", "style", "source", "gold", "gold_role", "extra"):
        assert getattr(loaded, field) == getattr(stored, field)
    assert loaded.faults == (stored.faults if keep == "candidates" else ())


def test_the_size_of_the_panel_is_what_the_first_score_says(tmp_path, dataset):
    assert isinstance(source(dataset), Voted)
    assert source(dataset).panel_size() is None  # these samples have no part "support"
    from tests.pipeline.report.inputs import drawn_sample

    write_dataset(tmp_path / "drawn", [drawn_sample(n, found=n > 0) for n in range(4)])
    assert source(tmp_path / "drawn").panel_size() == 3


def test_a_damaged_shard_is_noticed_before_a_sample_is_handed_out(dataset):
    path = sorted((dataset / "shards").iterdir())[1]
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.write_bytes(bytes(data))
    made = source(dataset)
    assert made.load(0).id
    with pytest.raises(ValueError, match="the file is damaged"):
        made.load(4)
    path.unlink()
    with pytest.raises(ValueError, match="is missing; run `maskmix verify"):
        made.load(4)


def test_what_cannot_be_a_source_is_refused(tmp_path, dataset):
    with pytest.raises(
        ValueError, match="stores jpg images and this recipe png; set image_format: jpg"
    ):
        shards.make(shards.Config(path=dataset), "png")
    with pytest.raises(ValueError, match="no maskmix dataset"):
        source(tmp_path / "nowhere")
