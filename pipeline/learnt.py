"""What `maskmix calibrate` learnt of an earlier dataset, on its way into the next build.

A recipe names a file; the resolved recipe holds the numbers of it that decide bytes, so that its hash names them and
a worker, or a reader years later, needs no file.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from annotators import calibration, rates
from pipeline.config import StagesConfig

Essence = Callable[[Mapping[str, Any]], dict[str, Any]]


def inline_learnt(stages: StagesConfig) -> StagesConfig:
    """`stages` with the files under `learnt` read, relative to the working directory.

    Raises:
        ValueError: a file is missing or holds something else; names the key and the command that makes it.
    """
    update: dict[str, Any] = {}
    if stages.fuse and stages.fuse.learnt is not None:
        if stages.fuse.rule != "staple":
            raise ValueError(
                f"stages.fuse.learnt with rule {stages.fuse.rule!r}; learnt reliabilities are for rule 'staple'"
            )
        numbers = _numbers("stages.fuse.learnt", stages.fuse.learnt, rates.essence)
        update["fuse"] = stages.fuse.model_copy(update={"learnt": numbers})
    if stages.score and stages.score.learnt is not None:
        numbers = _numbers("stages.score.learnt", stages.score.learnt, calibration.essence)
        update["score"] = stages.score.model_copy(update={"learnt": numbers})
    return stages.model_copy(update=update)


def _numbers(key: str, given: Path | Mapping[str, Any], essence: Essence) -> dict[str, Any]:
    if not isinstance(given, Path):
        table, where = given, key
    else:
        where = f"{key}: {given}"
        if not given.is_file():
            raise ValueError(f"{where} does not exist; `maskmix calibrate DATASET` writes it")
        try:
            table = json.loads(given.read_bytes())
        except ValueError as error:
            raise ValueError(f"{where} is no JSON: {error}") from error
        if not isinstance(table, dict):
            raise ValueError(f"{where} holds {type(table).__name__}; expected an object")
    try:
        return essence(table)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
