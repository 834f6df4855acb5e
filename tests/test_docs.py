"""Documents that can be checked are checked: the tree, the commands, the words."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from typer.main import get_command

from maskmix import app

ROOT = Path(__file__).parents[1]


def _tracked() -> set[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    return {name for name in listed.stdout.splitlines() if (ROOT / name).exists()}


def _tree_in_document() -> set[str]:
    block = (ROOT / "ARCHITECTURE.md").read_text().split("## Tree")[1].split("```")[1]
    folder, names = "", set()
    for line in block.strip().splitlines():
        name = line.split("  ")[0] if not line.startswith("  ") else line.strip().split("  ")[0]
        if not line.startswith("  "):
            folder = name if name.endswith("/") else ""
        if not name.endswith("/"):
            names.add(folder + name if line.startswith("  ") else name)
    return names


def test_the_tree_in_the_document_is_the_tree_on_disk() -> None:
    code = {
        name
        for name in _tracked()
        if name.split("/")[0] in {"annotators", "pipeline", "trainer"}
        and name.endswith((".py", ".yaml", ".j2"))
        and not name.endswith("__init__.py")
    }
    named = {name for name in _tree_in_document() if "/" in name}
    assert named == code


@pytest.mark.parametrize("document", ["README.md", "data_cards/FORMAT.md", "EXPERIMENTS.md"])
def test_every_maskmix_command_in_a_document_parses(document: str) -> None:
    verbs = get_command(app)
    text = (ROOT / document).read_text()
    blocks = "".join(text.split("```")[1::2])
    lines = re.findall(r"^(?:\$ |.*python -m )?maskmix ([a-z]+[^\n#]*)", blocks, re.MULTILINE)
    lines += re.findall(r"`maskmix ([a-z]+[^`]*)`", text)
    checked = 0
    for line in lines:
        words = shlex.split(line.replace("...", "").rstrip("\\ "))
        if words[0] not in verbs.commands:  # type: ignore[attr-defined]
            raise AssertionError(f"{document} names `maskmix {words[0]}`, which there is not")
        verb = verbs.commands[words[0]]  # type: ignore[attr-defined]
        if words[0] == "experts" and len(words) > 1:
            verb, words = verb.commands[words[1]], words[1:]
        verb.make_context(words[0], words[1:], resilient_parsing=True)
        checked += 1
    assert checked


def test_recipes_open_with_their_command() -> None:
    recipes = sorted(ROOT.glob("*/recipes/*.yaml"))
    assert recipes
    for recipe in recipes:
        opening = recipe.read_text().split("\nname:")[0]
        assert "#   maskmix " in opening, f"{recipe.name} does not open with its command"


def test_the_words_of_the_readme_are_in_the_code() -> None:
    from annotators import candidate, label, phrase
    from pipeline import manifest, records, work

    for name in (
        "Phrase",
        "Candidate",
        "Proposal",
        "Label",
        "Quality",
        "Unit",
        "Receipt",
        "Manifest",
    ):
        assert any(
            hasattr(module, name) for module in (candidate, label, manifest, phrase, records, work)
        )
