"""The dataset that a verb of the command line is given: a folder, or one on the hub."""

import os
import re
from pathlib import Path
from typing import Annotated

import typer

TrainArgument = Annotated[str, typer.Argument(help="A dataset folder, or org/name on the hub.")]


def local_dataset(dataset: str) -> Path:
    """A dataset folder as it is; a hub id pulled, once, into the cache folder."""
    folder = Path(dataset)
    if folder.is_dir() or not re.fullmatch(r"[\w.-]+/[\w.-]+", dataset):
        return folder
    from pipeline.hub import pull as pull_dataset

    home = Path(os.environ.get("MASKMIX_HOME", Path.home() / ".cache" / "maskmix"))
    kept = home / "datasets" / dataset.replace("/", "--")
    if not (kept / "manifest.json").exists():
        typer.echo(f"pulling {dataset} into {kept}", err=True)
        pull_dataset(dataset, kept)
    return kept
