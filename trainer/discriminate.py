"""Score every label of a dataset out of sample and leave the scores beside the shards.

The images are dealt into K folds; the discriminator that judges an image never saw it, neither with another
instruction nor as gold. Machine samples are judged by their machine label, gold samples by the gold mask. What it
thinks of the machine's labels of gold samples stands in a sidecar of its own, since there learning may know the truth
(trainer.measure.reliability). Audit gold is not learnt from: it only measures how well the scores tell good labels
(IoU >= 0.5) from bad ones.

The folds' discriminators learn side by side, each in a process, or one after the other in all processes that torchrun
or Ray started. Pixels come from memory or from the shards, as `data.cache` says.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from pipeline.shards import write_atomic
from pipeline.sidecar import LABELS, WEIGHTS, labels_sidecar, write_sidecar
from trainer.config import TrainRecipe
from trainer.data.dataset import Opened, open_dataset
from trainer.data.guesses import write_guesses
from trainer.data.truth import label_ious
from trainer.engine.distributed import World, choose_device, joined, launched
from trainer.engine.side_by_side import run_side_by_side
from trainer.fold_judge import Verdicts, deal_folds, judge_fold, learnt_from, together
from trainer.measure.confident_issues import write_issues
from trainer.measure.label_scores import leakage_auc, measure_scores
from trainer.run_folder import start
from trainer.weighting.dataset import dataset_weights
from trainer.weighting.dwsl import Dwsl

MADE_BY = "maskmix.made_by"
"""Key of `made_by` in the metadata of a weights sidecar."""
FACTS = "discriminator.json"


def discriminate(
    root: Path,
    recipe: TrainRecipe,
    *,
    out: Path | None = None,
    seed: int = 0,
    name: str = "weights",
    workers: int | None = None,
    on: Literal["here", "ray"] = "here",
    confident_only: bool = False,
) -> dict[str, Any]:
    """Train K discriminators, write `sidecars/{name}.parquet`, `{name}_labels.parquet` and `discriminator.json`.

    With `recipe.discriminate.confident` also `sidecars/confident.parquet` (trainer.measure.confident_issues), with
    `recipe.discriminate.guesses` also `sidecars/{name}_guesses.parquet` (trainer.data.guesses).

    Args:
        root: a finished dataset folder.
        recipe: `recipe.discriminate` says how; `recipe.data` and `recipe.model` the frame and sizes.
        out: folder for the folds' logs, checkpoints and discriminators (trainer.models.saved_judge), resumed where it
            stands; None keeps none.
        seed: of folds, parameters and batches.
        name: of the sidecar.
        workers: here: discriminators that learn side by side (trainer.engine.side_by_side), one when None. On Ray:
            processes that learn each of them together; one for each GPU of the cluster, or one, when None.
        on: here: this process and its `workers`, or the processes that torchrun started. ray: Ray Train starts them.
        confident_only: write `confident` and leave the other sidecars as they are.

    Returns:
        What discriminator.json holds (data_cards/FORMAT.md).

    Raises:
        ValueError: the dataset has gold with role "train" on fewer than two images, or no machine label; a fold's
            folder in `out` is of other folds, another recipe or another dataset; or `out` is missing on Ray.
        Interrupted: SIGTERM or SIGINT came; with `out` the state is saved (trainer.engine.stop).
    """
    root = root.resolve()
    write = partial(_write, root, recipe, seed=seed, name=name, confident_only=confident_only)
    if on == "here" and not launched():
        store = open_dataset(root, recipe.data)
        many = (workers or 1) > 1
        jobs = [
            (None if many else store, root, recipe, fold, seed, _folder(out, fold))
            for fold in range(recipe.discriminate.folds)
        ]
        found = run_side_by_side(_judge_apart, jobs, workers=workers or 1)
        return write(store, together([verdicts for _, verdicts in found]))
    if confident_only:
        raise ValueError("confident_only is not for processes that learn together")
    target = None if out is None else out.resolve()
    work = partial(_judge_together, root, recipe, target, seed=seed, write=write)
    if on == "ray":
        if out is None:
            raise ValueError(
                "to judge on Ray name a folder (--out) that all of its machines see; the discriminators are kept there"
            )
        start(
            work,
            facts=lambda: learnt_from(root, recipe) | {"seed": seed},
            out=out,
            finished=None,
            run=recipe.run,
            on="ray",
            workers=workers,
        )
    elif workers is not None:
        raise ValueError("workers is for discriminators side by side; torchrun starts several")
    else:
        with joined(recipe.run.device, minutes=recipe.run.timeout_minutes) as world:
            work(world)
    told: dict[str, Any] = json.loads((root / "sidecars" / FACTS).read_bytes())
    return told


def _judge_apart(
    store: Opened | None, root: Path, recipe: TrainRecipe, fold: int, seed: int, folder: Path | None
) -> Verdicts:
    """One fold by this process alone, on the device that is its own."""
    if store is None:
        store = open_dataset(root, recipe.data)
    alone = World(device=choose_device(recipe.run.device))
    return judge_fold(store, root, recipe, fold, seed=seed, folder=folder, world=alone)


def _judge_together(
    root: Path,
    recipe: TrainRecipe,
    out: Path | None,
    world: World,
    *,
    seed: int,
    write: Callable[[Opened, Verdicts], object],
) -> None:
    """All folds, one after the other, by all processes; the first of them writes."""
    store = open_dataset(root, recipe.data)
    found = [
        judge_fold(store, root, recipe, fold, seed=seed, folder=_folder(out, fold), world=world)
        for fold in range(recipe.discriminate.folds)
    ]
    if world.leads:
        write(store, together(found))
    world.meet()


def _folder(out: Path | None, fold: int) -> Path | None:
    return None if out is None else out / f"fold-{fold}"


def _write(
    root: Path,
    recipe: TrainRecipe,
    store: Opened,
    said: Verdicts,
    *,
    seed: int,
    name: str,
    confident_only: bool,
) -> dict[str, Any]:
    """Write what the folds say beside the shards, and tell how good it is."""
    config = recipe.discriminate
    fold_of = deal_folds(store, folds=config.folds, seed=seed)
    ids, is_gold = list(store.ids), store.is_gold.numpy()
    assert (said.rows == np.arange(len(ids))).all()
    assert np.isfinite(said.p_clean).all()
    assert np.isfinite(said.p_label).all()
    if config.confident:
        share = config.confident_share
        write_issues(root, ids=ids, quality=said.quality, issues=said.issues, share=share)
    measured = measure_scores(is_gold, label_ious(root, store).numpy(), said.p_clean)
    facts = {"folds": config.folds, "loss": config.loss, **measured}
    facts["guess_iou"] = _mean(said.guess_iou)
    facts["leakage_auc"] = leakage_auc(store, fold_of)
    if confident_only:
        return facts
    columns = {"sample_id": ids, "fold": fold_of.astype(np.int16)}
    p_clean = said.p_clean.astype(np.float32)
    judged = columns | {"p_clean": p_clean, "weight": _weights(p_clean, store, recipe)}
    told = {MADE_BY: made_by(root, recipe)}
    write_sidecar(root, name, pa.table(judged, schema=WEIGHTS.with_metadata(told)))
    if config.guesses:
        write_guesses(root, sidecar=name, guesses=said.guesses)
    labels = columns | {"p_label": said.p_label}
    write_sidecar(root, labels_sidecar(name), pa.table(labels, schema=LABELS))
    text = json.dumps(facts, indent=1, sort_keys=True, allow_nan=False)
    write_atomic(root / "sidecars" / FACTS, text.encode() + b"\n")
    return facts


def _weights(
    p_clean: NDArray[np.float32], store: Opened, recipe: TrainRecipe
) -> NDArray[np.float32]:
    """f(p_clean) with mean one over the machine's labels, float32 n."""
    config = recipe.discriminate
    weigher = Dwsl(f=config.f, zero_below=config.zero_below)
    weight = dataset_weights(replace(store, p_clean=torch.from_numpy(p_clean)), weigher)
    mean = float(weight[~store.is_gold].mean())
    return (weight / mean if mean > 0 else weight).numpy()


def _mean(values: NDArray[np.float64]) -> float | None:
    """Of those that are known, rounded."""
    known = values[np.isfinite(values)]
    return round(float(known.mean()), 5) if len(known) else None


def made_by(root: Path, recipe: TrainRecipe) -> str:
    """A hash of what decides the scores beside the seed, which the weights sidecar carries as `MADE_BY`."""
    told = json.dumps(learnt_from(root, recipe)["judges"], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()
