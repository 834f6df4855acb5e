"""A bench: how the training set and the test set of a study are made, by the command a person would type."""

import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import PIPE

from pipeline.config import Strict


class Bench(Strict):
    """Two datasets. `{data}` in an override is the folder given to the study."""

    build: str
    """Build recipe of both sets."""
    set: tuple[str, ...] = ()
    """Overrides of the training set."""
    test_set: tuple[str, ...]
    """Overrides of the test set."""


def build_dataset(
    folder: Path,
    bench: Bench,
    overrides: Sequence[str],
    *,
    data: Path | None,
    tell: Callable[[str], None],
) -> Path:
    """Build the dataset `folder` by the bench's recipe, or find it there; the command is told before it runs.

    One that is there is held against the recipe too: what an older version of it built is another dataset.

    Raises:
        ValueError: the build failed, the folder holds the dataset of another recipe, or `data` is needed and missing.
    """
    words = ["build", "--recipe", bench.build]
    for override in overrides:
        if "{data}" in override and data is None:
            raise ValueError(
                f"{folder.name} needs the folder that {{data}} stands for in {override!r}; give --data FOLDER"
            )
        words += ["--set", override.replace("{data}", str(data))]
    words += ["--out", str(folder)]
    command = [sys.executable, "-m", "maskmix", *words]
    if (folder / "manifest.json").exists():
        checked = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=PIPE, text=True)
        if checked.returncode:
            *_, said = ["", *checked.stderr.strip().splitlines()]
            raise ValueError(
                said.removeprefix("error: ") or f"`maskmix {shlex.join(words)}` failed"
            )
        return folder
    tell(f"$ maskmix {shlex.join(words)}")
    if subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
        raise ValueError(f"`maskmix {shlex.join(words)}` failed; its message stands above")
    return folder
