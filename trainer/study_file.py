"""A study file by name: one that compares weightings (trainer.study), or one with arms (trainer.ablation)."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pipeline.config import load_recipe
from trainer import ablation, study

PACKAGE = "trainer.studies"


def load(name_or_file: str, overrides: Sequence[str] = ()) -> study.Study | ablation.Ablation:
    """A study, validated.

    Raises:
        ValueError: there is no such study, or it names what is not there.
    """
    raw = load_recipe(name_or_file, overrides, package=PACKAGE)
    return ablation.check(raw) if "arms" in raw else study.check(raw)


def run(
    found: study.Study | ablation.Ablation,
    *,
    out: Path,
    data: Path | None,
    workers: int,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Run a study, as `trainer.study.run_study` or `trainer.ablation.run_ablation` says."""
    if isinstance(found, ablation.Ablation):
        return ablation.run_ablation(found, out=out, data=data, workers=workers, tell=tell)
    return study.run_study(found, out=out, data=data, workers=workers, tell=tell)
