"""The card: its head declares exactly what the shards hold, and the same dataset gives the same card."""

from pathlib import Path

import pytest
import yaml

from pipeline.card import hub_licence, render_card, size_category, write_card
from pipeline.index import read_index
from pipeline.manifest import PanelEntry, read_manifest
from pipeline.records import Reject
from tests.pipeline.datasets_for_tests import samples, write_dataset

REJECTS = [Reject(sample_id="dull-1", stage="keep", reason="quality-low")]


def head_of(card: Path) -> dict:
    _, head, _ = card.read_text().split("---\n", 2)
    return yaml.safe_load(head)


@pytest.mark.slow  # the first import of datasets
def test_the_head_declares_one_tar_config_and_the_number_of_samples(tmp_path: Path):
    write_dataset(tmp_path, samples(7), split="val", rejects=REJECTS)
    head = head_of(write_card(tmp_path))
    assert head["configs"] == [
        {"config_name": "default", "data_files": [{"split": "val", "path": "shards/val-*.tar"}]}
    ]
    size = sum(p.stat().st_size for p in (tmp_path / "shards").iterdir())
    assert head["dataset_info"]["splits"] == [{"name": "val", "num_bytes": size, "num_examples": 7}]
    assert head["license"] == "cc-by-4.0"
    assert head["task_categories"] == ["image-segmentation"]
    assert head["size_categories"] == ["n<1K"]
    assert head["annotations_creators"] == ["machine-generated", "found"]


@pytest.mark.slow
def test_the_features_in_the_head_are_those_of_the_schema(tmp_path: Path):
    from datasets import Features

    from pipeline.features import hf_features

    write_dataset(tmp_path, samples(2, image_format="png"))
    head = head_of(write_card(tmp_path))
    assert Features._from_yaml_list(head["dataset_info"]["features"]) == hf_features("png")


@pytest.mark.slow
def test_the_same_dataset_gives_the_same_card_and_numbers_that_add_up(tmp_path: Path):
    for name in ("a", "b"):
        write_dataset(tmp_path / name, samples(4), rejects=REJECTS, quarantined=2)
        write_card(tmp_path / name)
    card = (tmp_path / "a" / "README.md").read_text()
    assert card == (tmp_path / "b" / "README.md").read_text()
    for row in (
        "| committed | 4 |",
        "| rejected: keep/quality-low | 1 |",
        "| quarantined (an error) | 2 |",
        "| **all** | **7** |",
        "| gold, role `train` | 1 |",
        "| gold, role `audit` | 1 |",
        "| empty labels (no target found) | 1 |",
        "| little | cc-by-4.0 | 4 |",
    ):
        assert row in card


@pytest.mark.slow
def test_names_from_outside_cannot_break_the_tables(tmp_path: Path):
    write_dataset(tmp_path, samples(1))
    index = read_index(tmp_path, "train")
    column = index.schema.get_field_index("style")
    odd = index.set_column(column, index.schema.field(column), [["a | b\n# c"]])
    assert "| a \\| b # c | 1 |" in render_card(read_manifest(tmp_path), odd, shard_bytes=1)


@pytest.mark.slow
def test_a_dataset_without_samples_has_a_card_too(tmp_path: Path):
    write_dataset(tmp_path, [], rejects=REJECTS)
    assert "| committed | 0 |" in write_card(tmp_path).read_text()


@pytest.mark.slow
def test_the_panel_is_listed_in_the_order_it_runs(tmp_path: Path):
    write_dataset(tmp_path, samples(1))
    manifest = read_manifest(tmp_path)
    experts = {"experts": [{"use": "rules", "options": {"b": 1, "a": "x"}}]}
    stages = {"ground": {"experts": [{"use": "regions", "options": {}}]}, "rewrite": experts}
    manifest = manifest.model_copy(update={"recipe": {**manifest.recipe, "stages": stages}})
    card = render_card(manifest, read_index(tmp_path, "train"), shard_bytes=1)
    rows = "| rewrite | rules | a='x', b=1 |\n| ground | regions | (none) |\n"
    assert rows in card


@pytest.mark.slow
def test_weights_are_rolled_up_with_revision_and_licence(tmp_path: Path):
    write_dataset(tmp_path, samples(1))
    manifest = read_manifest(tmp_path)
    index = read_index(tmp_path, "train")
    seat = PanelEntry(
        stage="segment", position=0, expert="sam", roles=["segmenter"], model="org/sam", revision="a1b2",
        prompt_version="", licence="apache-2.0", config_hash="",
    )  # fmt: skip
    panel = [
        seat,
        seat.model_copy(update={"position": 1, "expert": "sam_auto"}),
        seat.model_copy(update={"position": 2, "model": "a|b", "revision": "", "licence": ""}),
        seat.model_copy(update={"position": 3, "expert": "rules", "model": "", "revision": ""}),
    ]
    card = render_card(manifest.model_copy(update={"panel": panel}), index, shard_bytes=1)
    assert "| org/sam | `a1b2` | apache-2.0 | sam, sam_auto |\n" in card
    assert "| a\\|b | behind an endpoint, not known | of its provider | sam |\n" in card
    assert "is unknown" not in card
    panel[0] = seat.model_copy(update={"licence": "unknown"})
    card = render_card(manifest.model_copy(update={"panel": panel}), index, shard_bytes=1)
    assert "The licence of org/sam is unknown: its card does not say." in card
    assert "Models that were asked" not in render_card(manifest, index, shard_bytes=1)


def test_a_folder_without_manifest_has_no_card(tmp_path: Path):
    with pytest.raises(ValueError, match="no maskmix dataset"):
        write_card(tmp_path)


@pytest.mark.parametrize(
    ("licences", "expected"),
    [
        ({"cc-by-4.0": 2}, ("cc-by-4.0", "")),
        ({"CC_BY 4.0": 2, "Apache-2.0": 1}, (["apache-2.0", "cc-by-4.0"], "")),
        ({"": 2}, ("unknown", "")),
        ({"Flickr terms": 1}, ("other", "flickr-terms")),
        ({"mine": 1, "yours": 1, "mit": 1}, (["mit", "other"], "several")),
        ({}, ("unknown", "")),
    ],
)
def test_licences_roll_up_to_the_hubs_identifiers(licences: dict, expected: tuple):
    assert hub_licence(licences) == expected


def test_size_categories_follow_the_hubs_bounds():
    bounds = [size_category(n) for n in (999, 1_000, 10_000, 100_000, 1_000_000, 10_000_000)]
    assert bounds == ["n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M"]
