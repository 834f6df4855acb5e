"""A study: which weighting wins, on which data, under how much noise and with how little gold? One command, one file.

A study file (trainer/studies/*.yaml) names benches (how to build a training set and a test set, and the training
recipe) and cells (a bench with a share of noise and of gold, and the methods to run there). Every dataset is built by
the command a person would type, which is told before it runs; every run is a folder that is found again, so a study
that was stopped goes on where it stood. Methods of a cell may be "the best of that other cell", ranked by mean gIoU.
"""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field

from annotators.registry import unknown
from pipeline.config import Strict, validate
from pipeline.shards import write_atomic
from trainer import config
from trainer.along import along_text
from trainer.bench import Bench, build_dataset
from trainer.compare import METHODS, compare, means, table_text
from trainer.methods import ORACLES


class WeightingBench(Bench):
    """A bench whose labels are spoiled and whose gold is rationed, and the recipe that trains on it."""

    noise: str | None = None
    """Key of the build recipe that a cell's `noise` goes to; None where the labels are experts' own."""
    gold: str = "source.gold_fraction"
    """Key that a cell's `gold` goes to."""
    trainer: str
    """Training recipe."""
    trainer_set: tuple[str, ...] = ()
    told: str = "weight.noise_rate"
    """Key of the training recipe that a cell's `noise` goes to, so that methods which must know it are told."""


class Cell(Strict):
    """One table of a study: the methods, or None for the best of the cell `Study.best_of`."""

    bench: str
    noise: float | None = Field(default=None, ge=0, le=1)
    gold: float = Field(ge=0, le=1)
    methods: tuple[str, ...] | None = None
    seeds: int | None = Field(default=None, ge=1)
    """Where it takes fewer or more than `Study.seeds`."""

    @property
    def name(self) -> str:
        """What folders and tables call it, e.g. "camvid-noise50-gold10"."""
        noise = "" if self.noise is None else f"-noise{round(100 * self.noise)}"
        return f"{self.bench}{noise}-gold{round(100 * self.gold)}"


class Study(Strict):
    """One study file."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    seeds: int = Field(default=3, ge=1)
    best: int = Field(default=4, ge=1)
    """How many methods a cell without `methods` takes."""
    best_of: Mapping[str, str] = {}
    """Bench -> name of the cell whose table says which are best."""
    always: tuple[str, ...] = ()
    """Methods that such a cell runs too and that are no candidates for the best: baselines and the oracle."""
    benches: Mapping[str, WeightingBench]
    cells: tuple[Cell, ...]


def check(raw: Mapping[str, Any]) -> Study:
    """The study of a file's content.

    Raises:
        ValueError: a key is wrong, or a cell names what is not there.
    """
    study: Study = validate(Study, dict(raw), f"study {raw.get('name')}")
    names = [cell.name for cell in study.cells]
    if len(set(names)) != len(names):
        raise ValueError(
            f"study {study.name}: two cells have one name; expected distinct ones among {names}"
        )
    for cell in study.cells:
        if cell.bench not in study.benches:
            raise ValueError(
                f"cell {cell.name}: there is no bench {cell.bench!r}; there are {sorted(study.benches)}"
            )
        if (cell.noise is None) != (study.benches[cell.bench].noise is None):
            raise ValueError(
                f"cell {cell.name}: noise is given just where its bench has a key for it"
            )
        for method in cell.methods or ():
            if method not in METHODS:
                raise ValueError(f"cell {cell.name}: {unknown('method', method, list(METHODS))}")
        source = study.best_of.get(cell.bench)
        if cell.methods is None and source not in names[: names.index(cell.name)]:
            raise ValueError(
                f"cell {cell.name}: it has no methods, and best_of names no earlier cell ({source!r})"
            )
    return study


def run_study(
    study: Study, *, out: Path, data: Path | None, workers: int, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Run every cell, or find it done; write `OUT/study.json` and `OUT/study.txt` after each.

    Args:
        study: what to run.
        out: folder of the study; a cell's comparison is in `OUT/CELL`, its datasets in `OUT/datasets`.
        data: folder that `{data}` stands for; None where no bench needs one.
        workers: trainings side by side.
        tell: called with lines of progress.

    Returns:
        What study.json holds: one entry a cell with what its compare.json holds.

    Raises:
        ValueError: a build failed, `data` is needed and missing, or what `compare` raises.
    """
    done: dict[str, dict[str, Any]] = {}
    for cell in study.cells:
        bench = study.benches[cell.bench]
        make = partial(build_dataset, bench=bench, data=data, tell=tell)
        train = make(out / "datasets" / cell.name, overrides=_train_set(cell, bench))
        test = make(out / "datasets" / f"{cell.bench}-test", overrides=bench.test_set)
        methods = cell.methods or choose(done[study.best_of[cell.bench]], study)
        tell(f"\n== {cell.name}: {', '.join(methods)}")
        done[cell.name] = compare(
            train,
            test,
            config.load(bench.trainer, _trainer_set(cell, bench)),
            out=out / cell.name,
            methods=methods,
            seeds=range(cell.seeds or study.seeds),
            workers=workers,
            tell=tell,
        )
        tell(table_text(done[cell.name]))
        write_study(out, _facts(study, done))
    return _facts(study, done)


def choose(result: Mapping[str, Any], study: Study) -> tuple[str, ...]:
    """The methods that are always run, and the best others of a comparison by mean gIoU, oracles aside."""
    ranked = sorted(means(result["rows"]).items(), key=lambda pair: (-pair[1], pair[0]))
    no_candidates = {*study.always, *ORACLES}
    best = [method for method, _ in ranked if method not in no_candidates][: study.best]
    return (*study.always, *best)


def _train_set(cell: Cell, bench: WeightingBench) -> tuple[str, ...]:
    noise = () if bench.noise is None else (f"{bench.noise}={cell.noise}",)
    return (*bench.set, *noise, f"{bench.gold}={cell.gold}")


def _trainer_set(cell: Cell, bench: WeightingBench) -> tuple[str, ...]:
    told = () if cell.noise is None else (f"{bench.told}={cell.noise}",)
    return (*bench.trainer_set, *told)


def _facts(study: Study, done: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    cells = [
        {
            "cell": cell.name,
            "bench": cell.bench,
            "group": f"{cell.gold:.0%} gold",
            "x": cell.noise,
            **done[cell.name],
        }
        for cell in study.cells
        if cell.name in done
    ]
    return {"study": study.name, "x": "share of spoiled machine labels", "cells": cells}


def write_study(out: Path, facts: Mapping[str, Any]) -> None:
    """Write `OUT/study.json`, and its tables and those along the axis as `OUT/study.txt`; of both kinds of studies."""
    text = json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=False)
    write_atomic(out / "study.json", text.encode() + b"\n")
    tables = [f"{cell['cell']}\n{table_text(cell)}" for cell in facts["cells"]]
    if along := along_text(facts["cells"], facts["x"]):
        tables.append(along)
    write_atomic(out / "study.txt", "\n".join(tables).encode())
