"""Experts by name: what exists can be made, what does not is named with its nearest neighbour."""

import importlib
import subprocess
import sys

import pytest

from annotators.registry import (
    EXPERTS,
    config_hash,
    describe_experts,
    known_experts,
    make_expert,
    unknown,
)


def test_every_built_in_name_leads_to_a_class_with_a_docstring():
    for name, where in EXPERTS.items():
        module, _, attribute = where.partition(":")
        cls = getattr(importlib.import_module(module), attribute)
        assert isinstance(cls, type), name
        assert cls.__doc__, name


def test_every_known_expert_has_a_role():
    described = describe_experts()
    assert [row["name"] for row in described] == known_experts()
    assert all(row["roles"] and row["about"] for row in described)


def test_options_reach_the_expert():
    assert make_expert("fake_rewriter", {"words": 2}).words == 2


def test_an_unknown_expert_is_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match=r"unknown expert: 'fake_grunder'; did you mean 'fake_gro"):
        make_expert("fake_grunder", {})


def test_an_unknown_option_is_refused_with_the_nearest_one():
    with pytest.raises(ValueError, match=r"'sed'; did you mean 'seed'\? Known: seed, "):
        make_expert("fake_grounder", {"sed": 1})


@pytest.fixture
def plug_in(tmp_path, monkeypatch):
    """An installed package that offers two experts, one of which needs an option."""
    (tmp_path / "little_experts.py").write_text(
        "class Needy:\n    'Needs a path.'\n    def __init__(self, *, path): self.path = path\n"
        "    def rewrite(self, instructions, images): return []\n"
    )
    folder = tmp_path / "little_experts-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: little-experts\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[maskmix.experts]\nneedy = little_experts:Needy\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("little_experts", None)


def test_an_expert_of_an_installed_package_is_found(plug_in):
    assert "needy" in known_experts()
    assert make_expert("needy", {"path": "x"}).path == "x"


def test_a_missing_option_is_refused_with_its_name(plug_in):
    with pytest.raises(ValueError, match=r"expert 'needy': missing .*'path'"):
        make_expert("needy", {})


def test_the_hash_depends_on_values_and_not_on_their_order():
    assert config_hash("a", {"x": 1, "y": 2}) == config_hash("a", {"y": 2, "x": 1})
    others = {config_hash("a", {"x": 1}), config_hash("a", {"x": 2}), config_hash("b", {"x": 1})}
    assert len(others) == 3
    assert config_hash("a", {}) == "41cbca84a458"


def test_the_hash_is_the_same_in_another_process():
    code = "from annotators.registry import config_hash; print(config_hash('a', {'x': [1, 'ü']}))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == config_hash("a", {"x": [1, "ü"]})


def test_unknown_says_none_where_nothing_is_known():
    assert unknown("fruit", "apple", []) == "unknown fruit: 'apple'. Known: none"
