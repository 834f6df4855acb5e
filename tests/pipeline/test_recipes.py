"""The shipped recipes: every one resolves, its experts take the options it gives, and its opening commands parse."""

import re
import shlex
from importlib import resources

import pytest
from typer.main import get_command

from annotators.registry import make_expert
from maskmix import app
from pipeline.config import load_recipe
from pipeline.doctor import uses_of
from pipeline.line import resolve

NAMES = sorted(
    file.name.removesuffix(".yaml")
    for file in resources.files("pipeline.recipes").iterdir()
    if file.name.endswith(".yaml")
)
LEARNT = {"relabel"}
"""Recipes that read a file of the user's, so that they resolve on a user's machine only."""


@pytest.mark.parametrize("name", sorted(set(NAMES) - LEARNT))
def test_a_shipped_recipe_resolves_and_its_experts_take_their_options(name: str) -> None:
    recipe = resolve(load_recipe(name))
    assert recipe.name == name
    for stage, use in uses_of(recipe.stages):
        assert make_expert(use.use, use.options).name == use.use, stage


@pytest.mark.parametrize("name", NAMES)
def test_the_commands_at_the_head_of_a_recipe_parse(name: str) -> None:
    text = (resources.files("pipeline.recipes") / f"{name}.yaml").read_text()
    head = text.split("\nname:")[0].replace(" \\\n#  ", " ")
    verbs = get_command(app).commands  # type: ignore[attr-defined]
    commands = re.findall(r"^#   maskmix (.*)$", head, re.MULTILINE)
    assert any(command.startswith("build") for command in commands)
    for command in commands:
        words = shlex.split(command)
        verb = verbs[words[0]]
        if words[0] == "experts":
            verb, words = verb.commands[words[1]], words[1:]
        verb.make_context(words[0], words[1:])


@pytest.mark.parametrize("name", ["full", "sam3", "refcoco"])
def test_a_recipe_that_could_not_be_run_here_says_so_and_what_it_needs(name: str) -> None:
    text = (resources.files("pipeline.recipes") / f"{name}.yaml").read_text()
    for word in ("Hardware:", "Expected time:", "Unverified here:", "experts doctor"):
        assert word in text
