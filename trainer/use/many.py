"""A model over many photographs, or over a whole dataset: planned, resumed, here or on Ray, and nothing lost.

    OUT/plan.json            what is asked of which model: the folder belongs to it for ever
    OUT/masks/000000/ID.png  round(255 p), 8-bit grey; with an effect shown/000000/ID.png, what it leaves of the image
    OUT/rejects/000000.jsonl inputs without an answer, each with a reason
    OUT/receipts/000000.json written last in a unit: it is committed
    OUT/predictions.parquet  a row for each prediction, in the order of the inputs (trainer.use.answers.ROWS)
    OUT/totals.json          written last of all: inputs = predicted + rejected

Running the same command again goes on where it stopped. On Ray a unit goes to one of a pool of workers, which holds the
model (pipeline.crew); only an input that kills its worker is rejected. The output folder must be one that all workers
see. Workers run torch on one thread each; a run here with more may differ from theirs in the last bits.
"""

import hashlib
import io
import json
import logging
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from annotators.models.weights import name_weights
from pipeline.lock import LOCK, held
from pipeline.manifest import MANIFEST
from pipeline.shards import atomic_file, write_atomic
from trainer.use.answers import (
    ROWS,
    Job,
    Receipt,
    pictures_folder,
    probe,
    read_receipt,
    run_unit,
)
from trainer.use.asked import PHOTOS_IN_UNIT, Unit, photo_units, shard_units
from trainer.use.effects import Effect

FOLDERS = ("index", "rejects", "receipts")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What became of all inputs; `rejected` counts by reason."""

    inputs: int
    predicted: int
    rejected: dict[str, int]

    def lines(self) -> list[str]:
        """A line for each outcome, for a terminal."""
        rows = [f"{'input':<32}{self.inputs:>6}", f"{'  predicted':<32}{self.predicted:>6}"]
        return rows + [f"{'  rejected   ' + why:<32}{n:>6}" for why, n in self.rejected.items()]


def from_pretrained(job: Job) -> Any:
    """Who answers unless told otherwise: the model of the job."""
    from trainer.use.predictor import Predictor

    return Predictor.from_pretrained(job.model, revision=job.revision, device=job.device)


def predict_many(
    model: str | Path,
    source: Path,
    *,
    out: Path,
    instruction: str | None = None,
    instructions: Path | None = None,
    effect: Effect | None = None,
    crop: bool = False,
    threshold: float | None = None,
    revision: str | None = None,
    device: str = "auto",
    on: str = "here",
    workers: int | None = None,
    gpus: float = 0.0,
    photos_in_unit: int = PHOTOS_IN_UNIT,
    make: Callable[[Job], Any] = from_pretrained,
    tell: Callable[[str], None] = lambda line: None,
) -> Totals:
    """Predict for a folder of photographs or a finished dataset folder, and write what the module's docstring shows.

    Args:
        model: a run, a folder with a saved model, or `org/name` of the hub.
        source: photographs, or a dataset, which brings its own instructions (the first phrasing of each sample).
        out: new, or of the same prediction.
        instruction: asked of every photograph.
        instructions: or a file that names photographs and instructions (trainer.use.asked.read_instructions).
        effect: write what a model downstream would be shown instead of masks.
        crop: with an effect, cut to what is visible.
        threshold: of the probability; the model's own when None.
        revision: of the model on the hub.
        device: "auto", "cpu" or "cuda".
        on: "here" (this process) or "ray".
        workers: on Ray; a CPU each, as many as there are when None.
        gpus: on Ray, share of a GPU for each worker.
        photos_in_unit: how many are committed together; a shard is a unit of its own.
        make: makes the predictor from the job.
        tell: hears a line when a run begins and when a tenth of it is done.

    Returns:
        The totals, checked: every input is predicted or rejected with a reason.

    Raises:
        ValueError: what is asked cannot be, the model is not there, or `out` holds something else.
        RuntimeError: a unit keeps killing its workers, or the model answers nothing at all.
    """
    if on not in ("here", "ray"):
        raise ValueError(f"on {on!r}; expected here or ray")
    if on == "here" and (workers is not None or gpus):
        raise ValueError("workers and gpus are for Ray; here one process does all")
    if crop and effect is None:
        raise ValueError("a crop needs an effect; masks are of the whole photograph")
    if threshold is not None and not 0 <= threshold <= 1:
        raise ValueError(f"threshold {threshold}; expected a number in [0, 1]")
    if is_dataset := (source / MANIFEST).exists():
        if instruction is not None or instructions is not None:
            raise ValueError(f"{source} is a dataset and brings its own instructions; give none")
        units = shard_units(source)
    else:
        units = photo_units(source, instruction=instruction, file=instructions, size=photos_in_unit)
    named = name_weights(str(model), revision)
    facts = {
        "format": 1,
        "weights": named.revision,
        "kind": "dataset" if is_dataset else "photographs",
        "inputs": sum(unit.count for unit in units),
        "units": len(units),
        "asked": _digest([asdict(unit) for unit in units]),
        "threshold": threshold,
        "effect": effect,
        "crop": crop,
    }
    local = Path(named.model).expanduser()
    job = Job(
        model=str(local.absolute()) if local.exists() else named.model,
        revision=None if local.exists() else named.revision,
        device=device,
        base=source.absolute(),
        out=out.absolute(),
        threshold=threshold,
        effect=effect,
        crop=crop,
        plan=_digest(facts),
        make=make,
    )
    job.out.mkdir(parents=True, exist_ok=True)
    with held(job.out, what="being filled"):
        _claim(job.out, facts)
        _sweep([job.out / folder for folder in (*FOLDERS, pictures_folder(job))])
        return _finish(job, units, on=on, workers=workers, gpus=gpus, tell=tell)


def _finish(
    job: Job,
    units: Sequence[Unit],
    *,
    on: str,
    workers: int | None,
    gpus: float,
    tell: Callable[[str], None],
) -> Totals:
    receipts = {
        unit.index: receipt
        for unit in units
        if (receipt := read_receipt(job.out, unit, job.plan)) is not None
    }
    inputs = sum(unit.count for unit in units)
    done = sum(receipt.inputs for receipt in receipts.values())
    tell(f"{inputs} inputs in {len(units)} units" + (f", {done} done before" if done else ""))
    missing = [unit for unit in units if unit.index not in receipts]
    run = _run_here(job, missing) if on == "here" else _run_on_ray(job, missing, workers, gpus)
    for receipt in run if missing else ():
        receipts[receipt.unit] = receipt
        tenth, done = 10 * done // inputs, done + receipt.inputs
        if 10 * done // inputs > tenth:
            tell(f"{done}/{inputs} inputs")
    rejected: Counter[str] = Counter()
    for receipt in receipts.values():
        rejected.update(receipt.rejected)
    totals = Totals(
        inputs=inputs,
        predicted=sum(receipt.predicted for receipt in receipts.values()),
        rejected=dict(sorted(rejected.items())),
    )
    if totals.predicted + sum(totals.rejected.values()) != inputs or len(receipts) != len(units):
        raise ValueError(
            f"{job.out}: {inputs} inputs but {totals.predicted} predicted + {sum(totals.rejected.values())} rejected; "
            "a receipt is wrong: delete the folder and run the same command again"
        )
    _merge(job.out, units, receipts)
    text = json.dumps(asdict(totals), indent=1, sort_keys=True)
    write_atomic(job.out / "totals.json", text.encode() + b"\n")
    return totals


def _merge(out: Path, units: Sequence[Unit], receipts: dict[int, Receipt]) -> None:
    """All rows in one table, in the order of the inputs."""
    with atomic_file(out / "predictions.parquet") as file, pq.ParquetWriter(file, ROWS) as writer:
        for unit in units:
            path = out / "index" / f"{unit.index:06d}.parquet"
            data = path.read_bytes() if path.exists() else b""
            if hashlib.sha256(data).hexdigest() != receipts[unit.index].index_sha256:
                raise ValueError(
                    f"{path} is not what its receipt says; delete receipts/{unit.index:06d}.json and run the same "
                    "command again"
                )
            table = pq.read_table(io.BytesIO(data))
            if table.num_rows:
                writer.write_table(table)


def _claim(out: Path, facts: dict[str, Any]) -> None:
    path = out / "plan.json"
    if path.exists():
        have = json.loads(path.read_bytes())
        odd = [key for key in facts if have.get(key) != facts[key]]
        if odd:
            raise ValueError(
                f"{out} holds another prediction ({', '.join(odd)} differ); choose another folder, or delete this one"
            )
        return
    if any(entry.name != LOCK for entry in out.iterdir()):
        raise ValueError(f"{out} is not empty and holds no prediction; choose another folder")
    write_atomic(path, json.dumps(facts, indent=1, sort_keys=True).encode() + b"\n")


def _sweep(folders: Sequence[Path]) -> None:
    """Make the folders, and clear away what a killed run was writing."""
    for folder in folders:
        folder.mkdir(exist_ok=True)
        for left in folder.glob(".*.tmp"):
            if left.is_dir():
                shutil.rmtree(left)
            else:
                left.unlink()


def _digest(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _run_here(job: Job, units: Sequence[Unit]) -> Iterator[Receipt]:
    predictor = job.make(job)
    for unit in units:
        yield run_unit(predictor, job, unit)


class _Worker:
    """Holds one model; lives until it dies or the run ends. The model is made by the first call, where it can raise."""

    def __init__(self, job: Job) -> None:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        self.job = job

    @cached_property
    def predictor(self) -> Any:
        return self.job.make(self.job)

    def run(self, unit: Unit, poison: frozenset[int]) -> Receipt:
        return run_unit(self.predictor, self.job, unit, poison)

    def probe(self, unit: Unit, number: int) -> None:
        probe(self.predictor, self.job, unit, number)


def _run_on_ray(
    job: Job, units: Sequence[Unit], workers: int | None, gpus: float
) -> Iterator[Receipt]:
    """Receipts as units are committed, in any order, on the cluster there is, else on one started here."""
    import ray

    from pipeline.crew import cluster

    actors: list[Any] = []
    with cluster(workers):
        try:
            yield from _schedule(job, units, workers, gpus, actors)
        finally:
            for actor in actors:
                ray.kill(actor)


def _schedule(
    job: Job, units: Sequence[Unit], workers: int | None, gpus: float, actors: list[Any]
) -> Iterator[Receipt]:
    import ray

    from pipeline.crew import run_units

    there = ray.cluster_resources()
    if gpus and gpus > there.get("GPU", 0):
        raise ValueError(f"{gpus:g} GPUs for a worker, but the cluster has {there.get('GPU', 0):g}")
    kind: Any = ray.remote(num_cpus=1, num_gpus=gpus, max_restarts=0)(_Worker)
    count = max(1, min(workers or int(there.get("CPU", 1)), len(units)))

    def hire() -> Any:
        worker = kind.remote(job)
        actors.append(worker)
        return worker

    yield from run_units(units, hire=hire, fire=actors.remove, count=count)
