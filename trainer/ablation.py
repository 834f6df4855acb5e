"""An ablation: what does a way of pre-training or of masking bring, judged by the same trainings?

A study file with `arms` (trainer/studies/*.yaml). An arm is a way to come by an encoder (a pre-training recipe and
overrides, or none) and overrides of what follows; an end is a training recipe that every arm is put through; places are
points of an axis (a mask ratio, a share of the data) at which all of it is run. A cell of the result is one bench, end
and place, with the arms as its methods, so tables and the report are those of trainer.study. Every pre-training and
every run is a folder that is found again; one that the axis does not change is run once and stands at every place.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field

from pipeline.config import Strict, validate
from trainer import config, pretrain_config
from trainer.bench import Bench, build_dataset
from trainer.compare import measured
from trainer.engine.side_by_side import run_side_by_side
from trainer.fit import fit
from trainer.measure.evaluate import dataset_name
from trainer.pretrain import pretrain
from trainer.study import write_study


class Arm(Strict):
    """One way to begin."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    recipe: str | None = None
    """Pre-training recipe whose encoder the ends start from; None: they start from what chance gives."""
    pretrain: tuple[str, ...] = ()
    """Overrides of it."""
    fit: tuple[str, ...] = ()
    """Overrides of the ends' recipes; what an end sets itself stands."""


class End(Strict):
    """One training that every arm is put through and measured after."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    recipe: str
    set: tuple[str, ...] = ()


class Place(Strict):
    """A point of the axis."""

    x: float | None = None
    pretrain: tuple[str, ...] = ()
    fit: tuple[str, ...] = ()

    @property
    def suffix(self) -> str:
        """Of folders and cells."""
        return "" if self.x is None else f"-{self.x:g}"


class AblationBench(Bench):
    """A bench, and what its frames or lengths change in the recipes."""

    pretrain: tuple[str, ...] = ()
    fit: tuple[str, ...] = ()
    seeds: int | None = Field(default=None, ge=1)
    """None: as many as the study says."""


class Ablation(Strict):
    """One study file with arms."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    seeds: int = Field(default=3, ge=1)
    benches: Mapping[str, AblationBench]
    arms: tuple[Arm, ...] = Field(min_length=1)
    ends: tuple[End, ...] = Field(min_length=1)
    axis: str = ""
    """What the places differ in, as plots say it."""
    places: tuple[Place, ...] = (Place(),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One arm at one place with one seed: its folder, the overrides of each step, and the ends."""

    folder: Path
    seed: int
    recipe: str | None
    pretrain: tuple[str, ...]
    ends: tuple[tuple[str, str, tuple[str, ...]], ...]
    """(name, training recipe, overrides)."""


def check(raw: Mapping[str, Any]) -> Ablation:
    """The ablation of a study file, every recipe and override of which is tried.

    Raises:
        ValueError: a key, a recipe or an override is wrong, or a name stands twice.
    """
    study: Ablation = validate(Ablation, dict(raw), f"study {raw.get('name')}")
    for what, names in (
        ("arms", [arm.name for arm in study.arms]),
        ("ends", [end.name for end in study.ends]),
        ("places", [str(place.x) for place in study.places]),
    ):
        if len(set(names)) != len(names):
            raise ValueError(f"study {study.name}: {what} has a name twice; got {names}")
    runs = list(_runs(study, Path()))
    for recipe, overrides in dict.fromkeys((run.recipe, run.pretrain) for run in runs):
        if recipe is not None:
            pretrain_config.load(recipe, overrides)
    for recipe, overrides in dict.fromkeys(end[1:] for run in runs for end in run.ends):
        config.load(recipe, overrides)
    return study


def run_ablation(
    study: Ablation, *, out: Path, data: Path | None, workers: int, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Run every arm, or find it done; write `OUT/study.json` and `OUT/study.txt` after each bench.

    Args and errors as `trainer.study.run_study`; arms' folders are `OUT/BENCH/ARM[-PLACE]-SEED`.
    """
    cells: list[dict[str, Any]] = []
    for name, bench in study.benches.items():
        make = partial(build_dataset, bench=bench, data=data, tell=tell)
        train = make(out / "datasets" / name, overrides=bench.set)
        test = make(out / "datasets" / f"{name}-test", overrides=bench.test_set)
        runs = {run.folder: run for run in _runs(study, out, only=name)}
        tell(f"\n== {name}: {len(runs)} runs of {len(study.ends)} trainings")
        rows: dict[Path, dict[str, dict[str, Any]]] = {}
        jobs = [(train, test, run) for run in runs.values()]
        for index, row in run_side_by_side(run_arm, jobs, workers=workers):
            rows[jobs[index][2].folder] = row
            said = ", ".join(f"{end} {row[end]['giou']:.3f}" for end in row)
            tell(f"[{len(rows)}/{len(jobs)}] {jobs[index][2].folder.name}: gIoU {said}")
        cells += _cells(study, name, out, rows, train, test)
        write_study(out, _facts(study, cells))
    return _facts(study, cells)


def run_arm(train: Path, test: Path, run: Run) -> dict[str, dict[str, Any]]:
    """Pre-train, train and measure one arm, or find it done; end -> its metrics."""
    started: tuple[str, ...] = ()
    if run.recipe is not None:
        recipe = pretrain_config.load(run.recipe, run.pretrain)
        encoder = pretrain(train, recipe, out=run.folder / "encoder", seed=run.seed)
        started = (f"model.pretrained={encoder.resolve()}",)
    found: dict[str, dict[str, Any]] = {}
    for name, recipe, overrides in run.ends:
        folder = fit(
            train,
            config.load(recipe, (*overrides, *started)),
            out=run.folder / name,
            seed=run.seed,
        )
        found[name] = measured(folder, test)
    return found


def _runs(study: Ablation, out: Path, *, only: str | None = None) -> Iterator[Run]:
    for name, bench in study.benches.items():
        for seed in range(bench.seeds or study.seeds) if only in (None, name) else ():
            for place in study.places:
                for arm in study.arms:
                    yield Run(
                        folder=_folder(out, name, arm, place, seed),
                        seed=seed,
                        recipe=arm.recipe,
                        pretrain=(*bench.pretrain, *arm.pretrain, *place.pretrain),
                        ends=tuple(
                            (e.name, e.recipe, (*bench.fit, *arm.fit, *place.fit, *e.set))
                            for e in study.ends
                        ),
                    )


def _folder(out: Path, bench: str, arm: Arm, place: Place, seed: int) -> Path:
    """Of one run; the same at two places that do not differ for this arm."""
    moved = place.fit or (place.pretrain and arm.recipe is not None)
    return out / bench / f"{arm.name}{place.suffix if moved else ''}-{seed}"


def _cells(
    study: Ablation,
    bench: str,
    out: Path,
    rows: Mapping[Path, Mapping[str, Mapping[str, Any]]],
    train: Path,
    test: Path,
) -> Iterator[dict[str, Any]]:
    for end in study.ends:
        for place in study.places:
            recipe = config.load(end.recipe, (*study.benches[bench].fit, *place.fit, *end.set))
            yield {
                "cell": f"{bench}-{end.name}{place.suffix}",
                "bench": bench,
                "group": end.name,
                "x": place.x,
                "dataset": dataset_name(train),
                "test": dataset_name(test),
                "budget": {
                    "steps": recipe.optim.steps,
                    "batch": recipe.data.batch,
                    "size_hw": list(recipe.data.size_hw),
                    "recipe": recipe.name,
                },
                "rows": [
                    {
                        "method": arm.name,
                        "seed": seed,
                        "oracle": False,
                        **rows[_folder(out, bench, arm, place, seed)][end.name],
                    }
                    for arm in study.arms
                    for seed in range(study.benches[bench].seeds or study.seeds)
                ],
            }


def _facts(study: Ablation, cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"study": study.name, "x": study.axis, "cells": list(cells)}
