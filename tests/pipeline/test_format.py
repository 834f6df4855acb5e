"""FORMAT.md tells the truth: its tables are what the code writes and reads."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.codec import MASK_SUFFIX, encode_sample
from pipeline.features import flat_fields
from pipeline.index import INDEX
from pipeline.manifest import Manifest, PanelEntry, Receipt, Totals
from pipeline.records import ID
from pipeline.schema import JSON_SCHEMA
from pipeline.sidecar import WEIGHTS
from pipeline.validate import REJECT_FIELDS, verify
from tests.pipeline.datasets_for_tests import bare_sample, full_sample, samples, write_dataset

FORMAT = (Path(__file__).parents[2] / "data_cards" / "FORMAT.md").read_text()


def rows(section: int, title: str) -> list[tuple[str, str]]:
    """(name, type) of the table whose first heading is `title`, in a section of FORMAT.md."""
    text = re.split(r"^## \d+\. ", FORMAT, flags=re.M)[section]
    table = re.search(rf"^\| {title} \|.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.M)
    assert table, f"no table {title!r} in section {section}"
    cells = [line.split("|")[1:3] for line in table[1].splitlines()]
    return [(name.strip(" `"), kind.strip()) for name, kind in cells]


def leaves(value: Any, at: str = "") -> Iterator[tuple[str, str]]:
    """(path, type) of what a json member really holds."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, f"{at}.{name}".lstrip("."))
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item, f"{at}[]")
    else:
        yield at, {str: "string", int: "int64", float: "float64"}[type(value)]


def test_the_table_of_json_fields_is_the_schema():
    assert rows(3, "field") == list(flat_fields(JSON_SCHEMA))


def test_the_table_of_json_fields_is_what_the_codec_writes():
    written = json.loads(dict(encode_sample(full_sample(), "jpg"))["json"])
    assert dict.fromkeys(leaves(written)) == dict.fromkeys(rows(3, "field"))
    bare = json.loads(dict(encode_sample(bare_sample(), "jpg"))["json"])
    assert set(leaves(bare)) < set(rows(3, "field"))
    assert bare.keys() == written.keys(), "fields are there even when they have nothing to say"


def test_the_members_are_those_of_section_2():
    suffixes = [suffix for suffix, _ in encode_sample(full_sample(), "jpg")]
    told = [name.replace("`", "") for name, _ in rows(2, "member")]
    assert told == ["ID.jpg or ID.png", f"ID.{MASK_SUFFIX}", "ID.json"]
    assert suffixes == ["jpg", MASK_SUFFIX, "json"]
    assert f"`{ID.pattern}`" in FORMAT


@pytest.mark.parametrize(
    ("title", "model"), [("receipt", Receipt), ("manifest", Manifest), ("panel", PanelEntry)]
)
def test_the_tables_of_receipt_manifest_and_panel_are_their_models(title: str, model: type):
    names = {"int": int, "string": str, "object": dict, "list": list}
    told = rows(4, title)
    fields = model.model_fields
    assert [name for name, _ in told] == list(fields)
    for name, kind in told:
        annotation = fields[name].annotation
        origin = getattr(annotation, "__origin__", annotation)
        if annotation is Totals:
            origin = dict
        if name == "format":
            origin = int
        assert origin is names[kind], name
    assert " ".join(Totals.model_fields) in FORMAT


def test_the_tables_of_index_and_weights_are_their_schemas():
    assert rows(5, "column") == [(f.name, str(f.type)) for f in INDEX]
    assert rows(6, "column") == [(f.name, str(f.type)) for f in WEIGHTS]


def test_rejects_have_the_fields_that_are_named():
    text = re.split(r"^## \d+\. ", FORMAT, flags=re.M)[4]
    assert set(re.findall(r"`(\w+)`", text.split("`rejects/*.jsonl`")[1])) - {"quarantine"} == (
        REJECT_FIELDS
    )


def test_the_reading_example_of_maskmix_runs(tmp_path: Path):
    write_dataset(tmp_path, samples(3))
    example = re.findall(r"```python\n(.*?)```", FORMAT, re.S)[0]
    exec(example.replace('"DIR"', repr(str(tmp_path))), {})
    assert verify(tmp_path).ok


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_the_reading_examples_of_the_others_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import datasets

    from pipeline.card import write_card

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    root = tmp_path / "set"
    write_dataset(root, samples(3))
    write_card(root)
    for example in re.findall(r"```python\n(.*?)```", FORMAT, re.S):
        if "import ray" not in example:
            names: dict[str, Any] = {}
            exec(example.replace("DIR", str(root)).replace("000041", "000001"), names)
            if "wds" in names:
                got = [(row["__key__"], row["json"]["id"]) for row in names["data"]]
                assert got == [(s.id, s.id) for s in samples(3)]
