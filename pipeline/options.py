"""What several verbs of the command line take, and how they answer programs; each part's `verbs.py` uses these."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer


class Place(StrEnum):
    """Who starts the processes that do the work."""

    here = "here"
    ray = "ray"


SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="Override one key: a.b=c. Repeatable.")
]
OutOption = Annotated[Path, typer.Option("--out", "-o", help="Where to write.")]
SeedOption = Annotated[int | None, typer.Option(help="Overrides the recipe's seed.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON line for programs.")]


def say_json(facts: dict[str, Any]) -> None:
    """One JSON object on one line of standard output."""
    typer.echo(json.dumps(facts, sort_keys=True, ensure_ascii=False))


def say_facts(facts: dict[str, Any], as_json: bool) -> None:
    """The same, or a line a fact for a person."""
    if as_json:
        say_json(facts)
        return
    for key, value in facts.items():
        typer.echo(f"{key:<24} {value:.4f}" if isinstance(value, float) else f"{key:<24} {value}")
