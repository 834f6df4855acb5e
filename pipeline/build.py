"""Plan, skip what is committed, dispatch, merge: one command that is also its own resume.

The output folder belongs to one recipe and one panel for ever (`plan.json`); a unit with a receipt is never run again;
the manifest is written last. `flock` keeps a second driver off the folder and is gone with the process that held it.
"""

import errno
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from annotators.halt import Halt
from pipeline.config import Recipe, recipe_hash
from pipeline.index import write_index
from pipeline.line import Job, Line, Unit, make_line
from pipeline.lock import LOCK, held
from pipeline.manifest import (
    MANIFEST,
    Manifest,
    PanelEntry,
    Receipt,
    read_receipts,
    receipt_path,
    total,
    write_json,
)
from pipeline.panel_seats import Seat, differences, resumable
from pipeline.panel_usage import BUDGET, USAGE
from pipeline.shards import write_atomic
from pipeline.source import Voted
from pipeline.work import versions

PLAN = "plan.json"
FOLDERS = ("shards", "receipts", "rejects", "index", "sidecars", USAGE)
Executor = Callable[[Job, Sequence[Unit]], Iterator[Receipt]]
Progress = Callable[[Receipt], None]


def build(
    job: Job,
    execute: Executor,
    *,
    on_start: Callable[[int, list[Receipt]], None] = lambda inputs, done: None,
    on_receipt: Progress = lambda receipt: None,
) -> Manifest:
    """Build the dataset of `job.recipe` in `job.root`, or finish what an earlier run left.

    `on_start` gets the number of inputs and the receipts found; `on_receipt` each new receipt.

    Raises:
        ValueError: the folder belongs to another recipe, to another panel or to nobody, the source changed, weights
            are not to be had, or the plan is wrong.
        OSError: the folder cannot be written (its message names the folder and the remedy).
        Halt: an expert said that the build must stop; units that were committed stay, and the same call goes on.
    """
    line = make_line(job)
    units = line.units()
    panel = [seat.entry() for seat in line.seats]
    with _writing(job.root), held(job.root, what="being built"):
        panel = _claim(job.root, line, len(units), panel)
        job = replace(job, panel=tuple(panel))
        _clean(job.root)
        _note_prices(job)
        done = _committed(job.root, line)
        on_start(line.inputs, list(done.values()))
        todo = [unit for unit in units if unit.index not in done]
        if todo:
            try:
                for receipt in execute(job, todo):
                    on_receipt(receipt)
            except Halt as halt:
                found = sum(1 for _ in read_receipts(job.root))
                raise Halt(f"{halt} ({found} of {len(units)} units committed)") from halt
            _clean(job.root)
        return _finish(job.root, line, len(units), panel)


def plan(job: Job) -> dict[str, Any]:
    """What `build` would do, without writing: the recipe, its hash, the stages, inputs, units, units done, the panel.

    An expert whose weights or endpoint are not to be had is in the panel with the `problem` that a build would meet.
    """
    line = make_line(job)
    units = line.units()
    found = sum(receipt_path(job.root, job.recipe.split, unit.index).exists() for unit in units)
    return {
        "recipe": job.recipe.model_dump(mode="json"),
        "recipe_hash": line.hash,
        "line": ["source", *(stage.name for stage in line.stages)],
        "inputs": line.inputs,
        "units": len(units),
        "units_done": found,
        "panel": [_entry_or_problem(seat) for seat in line.seats],
    }


def _entry_or_problem(seat: Seat) -> dict[str, Any]:
    try:
        return seat.entry().model_dump()
    except ValueError as error:
        place = {"stage": seat.stage, "position": seat.position, "expert": seat.expert.name}
        return {**place, "problem": str(error)}


def _finish(root: Path, line: Line, units: int, panel: list[PanelEntry]) -> Manifest:
    receipts = list(read_receipts(root))
    missing = sorted(set(range(units)) - {r.unit for r in receipts})
    if missing:
        raise ValueError(f"{root}: units {missing[:10]} have no receipt; run the same build again")
    totals = total(receipts)
    if totals.inputs != line.inputs:
        raise ValueError(
            f"{root}: receipts cover {totals.inputs} inputs of {line.inputs}; the totals do not add up"
        )
    write_index(root, line.recipe.split, receipts)
    manifest = Manifest(
        name=line.recipe.name,
        split=line.recipe.split,
        recipe=line.recipe.model_dump(mode="json"),
        recipe_hash=line.hash,
        panel=panel,
        inherited=line.source.panel() if isinstance(line.source, Voted) else [],
        shards=[r.shard for r in receipts if r.shard],
        units=units,
        totals=totals,
        versions=versions(panel),
    )
    write_json(root / MANIFEST, manifest)
    return manifest


def _claim(root: Path, line: Line, units: int, panel: list[PanelEntry]) -> list[PanelEntry]:
    """Make the folder this recipe's and panel's, or refuse; returns the panel that the folder was begun with."""
    path = root / PLAN
    ours = {
        "recipe": line.recipe.model_dump(mode="json"),
        "recipe_hash": line.hash,
        "inputs": line.inputs,
        "units": units,
        "panel": [entry.model_dump() for entry in panel],
    }
    if not path.exists():
        strangers = sorted(p.name for p in root.iterdir() if p.name not in {*FOLDERS, LOCK})
        if strangers:
            raise ValueError(
                f"{root} holds {strangers[:5]} but no {PLAN}: not a dataset folder; give an empty one"
            )
        for folder in FOLDERS:
            (root / folder).mkdir(exist_ok=True)
        write_atomic(path, json.dumps(ours, indent=1, sort_keys=True).encode() + b"\n")
        return panel
    try:
        theirs = json.loads(path.read_bytes())
        same = theirs["recipe_hash"] == recipe_hash(Recipe.model_validate(theirs["recipe"]))
        begun_with = [PanelEntry.model_validate(entry) for entry in theirs["panel"]]
    except (ValueError, KeyError) as error:
        raise ValueError(f"{path} is not readable: {error}; build into a new folder") from error
    if not same:
        raise ValueError(
            f"{path} was edited: its recipe does not give its hash; build into a new folder"
        )
    if theirs["recipe_hash"] != line.hash:
        changed = ", ".join(_differences(theirs["recipe"], ours["recipe"])) or "its defaults"
        raise ValueError(
            f"{root} holds the dataset of another recipe ({changed}); give another --out, or that recipe"
        )
    if theirs["inputs"] != line.inputs:
        raise ValueError(
            f"{root} was begun with {theirs['inputs']} inputs and the source now has {line.inputs}; "
            "build into a new folder"
        )
    if changes := differences(begun_with, resumable(begun_with, line.seats, panel)):
        raise ValueError(
            f"{root} was begun with another panel: {'; '.join(changes)}; put that back, or build into a new folder"
        )
    return begun_with


def _note_prices(job: Job) -> None:
    """Leave the budget beside the usage, for the report: the ledger counts tokens, not money."""
    budget = job.recipe.budget.model_dump()
    (job.root / USAGE).mkdir(exist_ok=True)
    write_atomic(job.root / USAGE / BUDGET, json.dumps(budget, sort_keys=True).encode() + b"\n")


def _committed(root: Path, line: Line) -> dict[int, Receipt]:
    done: dict[int, Receipt] = {}
    for receipt in read_receipts(root):
        if receipt.recipe_hash != line.hash:
            raise ValueError(
                f"{root}: receipt of unit {receipt.unit} is of another recipe; build into a new folder"
            )
        path = root / receipt.shard
        if receipt.shard and (not path.exists() or path.stat().st_size != receipt.size):
            raise ValueError(
                f"{root}: {receipt.shard} is missing or cut although its receipt stands; delete "
                f"{receipt_path(root, line.recipe.split, receipt.unit)} and run the build again"
            )
        done[receipt.unit] = receipt
    return done


def _clean(root: Path) -> None:
    """Remove temporary files of writers that died; the lock says nobody else writes here."""
    for folder in ("", *FOLDERS):
        for path in (root / folder).glob(".*.tmp"):
            path.unlink()


def _differences(a: Any, b: Any, at: str = "") -> list[str]:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        keys = sorted({*a, *b})
        return [
            d
            for key in keys
            for d in _differences(a.get(key), b.get(key), f"{at}.{key}".lstrip("."))
        ]
    return [] if a == b else [f"{at}: {a!r} there, {b!r} now"]


@contextmanager
def _writing(root: Path) -> Iterator[None]:
    """Create the folder, and say what to do when it cannot be written."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        advice = {
            errno.ENOSPC: "the disk is full: free some space and run the same command again, it resumes",
            errno.EDQUOT: "the quota is used up: free some space and run the same command again, it resumes",
            errno.EROFS: "the file system is read-only: give another --out",
            errno.EACCES: "no permission to write: give another --out",
            errno.EEXIST: "it is a file: give a folder as --out",
            errno.ENOTDIR: "a part of the path is a file: give a folder as --out",
        }
        if error.errno in advice:
            raise OSError(error.errno, f"cannot write to {root}: {advice[error.errno]}") from error
        raise
