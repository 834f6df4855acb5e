"""Does weighting help? The same model, budget and test for every method and seed, as one table from one command.

Every cell is a run folder `OUT/METHOD-SEED`, kept and found again, so a comparison that was stopped goes on where it
stood. All methods take the same number of steps of the same batch size.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from annotators.registry import unknown
from pipeline.shards import write_atomic
from pipeline.sidecar import guesses_sidecar, read_sidecar, sidecar_path
from trainer.config import TrainRecipe
from trainer.discriminate import MADE_BY, discriminate, made_by
from trainer.engine.side_by_side import run_side_by_side
from trainer.fit import fit
from trainer.measure.evaluate import dataset_name, evaluate
from trainer.methods import DEFAULT_METHODS, METHODS, ORACLES, TWICE
from trainer.weighting.registry import WEIGHTS, sidecars

SHOWN = ("giou", "ciou", "p50", "p70", "p90")


def compare(
    train_root: Path,
    test_root: Path,
    recipe: TrainRecipe,
    *,
    out: Path,
    methods: Sequence[str] = DEFAULT_METHODS,
    seeds: Sequence[int] = (0, 1, 2),
    workers: int = 1,
    tell: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Fit and evaluate every method with every seed; write `OUT/compare.json` and `OUT/compare.txt`.

    Runs the discriminator first when a method reads a sidecar of its making that the dataset has not.

    Args:
        train_root: dataset folder to learn from.
        test_root: dataset folder with gold to measure on.
        recipe: the training recipe, its weighting being what `dwsl` uses.
        out: folder of the comparison.
        methods: names from `METHODS`.
        seeds: one run each.
        workers: trainings side by side (trainer.engine.side_by_side).
        tell: called with a line of progress now and then.

    Returns:
        What compare.json holds: dataset, test, budget, and one row a run.

    Raises:
        ValueError: a method is unknown, dwsl is asked of a recipe without it, or what `fit` raises.
    """
    for method in methods:
        if method not in METHODS:
            raise ValueError(unknown("method", method, list(METHODS)))
    if "dwsl" in methods and recipe.weight.method != "dwsl":
        raise ValueError(
            f"recipe {recipe.name!r} weighs by {recipe.weight.method!r}; to compare dwsl set weight.method=dwsl"
        )
    out.mkdir(parents=True, exist_ok=True)
    say = tell or (lambda line: None)
    if missing := missing_sidecars(train_root, recipe, methods):
        say("discriminator: scoring every label out of sample")
        extra = {
            "confident": "confident" in missing,
            "guesses": guesses_sidecar(WEIGHTS) in missing,
        }
        asked = recipe.discriminate.model_copy(update=extra)
        discriminate(
            train_root,
            recipe.model_copy(update={"discriminate": asked}),
            out=out / "discriminator",
            workers=workers,
            confident_only=missing == {"confident"},
        )
    elif _judged_otherwise(train_root, recipe, methods):
        say(
            f"discriminator: {train_root} has weights of other settings or another tool; they are used as they are "
            "(to judge anew as this recipe says, delete its sidecars)"
        )
    jobs = [(method, seed) for seed in seeds for method in methods]
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    cells = [(train_root, test_root, recipe, method, seed, out) for method, seed in jobs]
    for index, row in run_side_by_side(run_cell, cells, workers=workers):
        rows[jobs[index]] = row
        say(_progress(row, len(rows), len(jobs)))
    result: dict[str, Any] = {
        "dataset": dataset_name(train_root),
        "test": dataset_name(test_root),
        "budget": {
            "steps": recipe.optim.steps,
            "batch": recipe.data.batch,
            "size_hw": list(recipe.data.size_hw),
            "recipe": recipe.name,
        },
        "rows": [rows[method, seed] for method in methods for seed in seeds],
    }
    text = json.dumps(result, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_atomic(out / "compare.json", text.encode() + b"\n")
    write_atomic(out / "compare.txt", table_text(result).encode())
    return result


def run_cell(
    train_root: Path, test_root: Path, recipe: TrainRecipe, method: str, seed: int, out: Path
) -> dict[str, Any]:
    """Fit and evaluate one method with one seed, or find it done; a row of the table."""
    changes = METHODS[method]
    run = fit(
        train_root,
        with_changes(recipe, changes),
        out=out / f"{method}-{seed}",
        seed=seed,
        name=method,
        oracle=changes.get("oracle", False),
    )
    return {"method": method, "seed": seed, "oracle": method in ORACLES, **measured(run, test_root)}


def measured(run: Path, test_root: Path) -> dict[str, Any]:
    """The metrics of a finished run on a test set: those that it keeps, or measured now."""
    stored = run / "results" / f"{dataset_name(test_root)}.json"
    summary = json.loads(stored.read_bytes()) if stored.exists() else evaluate(run, test_root)
    return summary["overall"]


def missing_sidecars(root: Path, recipe: TrainRecipe, methods: Sequence[str]) -> set[str]:
    """Sidecars that the methods read and the dataset does not have."""
    return {name for name in _read(recipe, methods) if not sidecar_path(root, name).exists()}


def _read(recipe: TrainRecipe, methods: Sequence[str]) -> set[str]:
    """Sidecars that the methods read."""
    return {s for name in methods for s in sidecars(with_changes(recipe, METHODS[name]).weight)}


def _judged_otherwise(root: Path, recipe: TrainRecipe, methods: Sequence[str]) -> bool:
    """Whether a method reads weights that are not those which this recipe's discriminators would give."""
    if WEIGHTS not in _read(recipe, methods):
        return False
    told = read_sidecar(root, WEIGHTS).schema.metadata or {}
    return told.get(MADE_BY.encode()) != made_by(root, recipe).encode()


def with_changes(recipe: TrainRecipe, changes: Mapping[str, Any]) -> TrainRecipe:
    """The recipe as one method has it."""
    raw: dict[str, Any] = {**recipe.model_dump(), "run": recipe.run}
    raw["weight"] = {**raw["weight"], **changes.get("weight", {})}
    if "gold_share" in changes:
        raw["data"]["gold_share"] = changes["gold_share"]
    return TrainRecipe.model_validate(raw)


def means(rows: Sequence[Mapping[str, Any]], metric: str = "giou") -> dict[str, float]:
    """Method -> mean over its seeds, in order of first appearance."""
    grouped: dict[str, list[float]] = {}
    for row in rows:
        grouped.setdefault(row["method"], []).append(row[metric])
    return {method: fmean(values) for method, values in grouped.items()}


def closed(rows: Sequence[Mapping[str, Any]], metric: str = "giou") -> dict[str, float]:
    """Method -> share of the way from the better of uniform and gold-only (0) to the oracle clean-only (1).

    Of the means over seeds; empty where one of the three was not run or the oracle is not ahead.
    """
    mean = means(rows, metric)
    if not {"uniform", "gold-only", "clean-only"} <= mean.keys():
        return {}
    low, high = max(mean["uniform"], mean["gold-only"]), mean["clean-only"]
    return (
        {name: (value - low) / (high - low) for name, value in mean.items()} if high > low else {}
    )


def table_text(result: Mapping[str, Any]) -> str:
    """The comparison as plain text: mean ± standard deviation over seeds, one line a method.

    The last column is `closed` in gIoU, where it is defined.
    """
    grouped: dict[str, list[Mapping[str, Any]]] = {}
    for row in result["rows"]:
        grouped.setdefault(row["method"], []).append(row)
    budget = result["budget"]
    height, width = budget["size_hw"]
    ways = closed(result["rows"])
    lines = [
        f"{result['dataset']} -> {result['test']}: {budget['steps']} steps of {budget['batch']} at {height}x{width}",
        f"{'method':<24}{'seeds':>6}"
        + "".join(f"{metric:>15}" for metric in SHOWN)
        + (f"{'closed':>9}" if ways else ""),
    ]
    for method, rows in grouped.items():
        title = method + (" (oracle)" if rows[0]["oracle"] else "")
        cells = "".join(f"{_cell([row[metric] for row in rows]):>15}" for metric in SHOWN)
        way = f"{ways[method]:>9.0%}" if ways else ""
        lines.append(f"{title:<24}{len(rows):>6}{cells}{way}")
    if any(method in TWICE for method in grouped):
        lines.append(
            f"{', '.join(m for m in grouped if m in TWICE)}: two models, twice the computation of a row"
        )
    return "\n".join(lines) + "\n"


def _cell(values: Sequence[float | None]) -> str:
    known = [v for v in values if v is not None]
    if not known:
        return "-"
    return f"{fmean(known):.3f}" + (f" ± {stdev(known):.3f}" if len(known) > 1 else "")


def _progress(row: Mapping[str, Any], done: int, total: int) -> str:
    return f"[{done}/{total}] {row['method']} seed {row['seed']}: gIoU {row['giou']:.3f}"
