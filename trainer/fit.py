"""Train one model on one dataset folder: `RUN/{run.json, log.jsonl, checkpoints/, model.safetensors, model.json}`.

model.json is written last, so its existence means the run is finished; running the same command again continues a run
that was stopped, or finds it finished. A run folder belongs to one recipe, dataset and seed for ever, and to no
number of processes: under torchrun or Ray all of them walk through here, and the first one writes.
"""

import hashlib
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from pipeline.manifest import read_manifest
from pipeline.sidecar import guesses_sidecar, sidecar_path
from trainer.config import TrainRecipe
from trainer.data.dataset import open_dataset
from trainer.data.fraction import in_fraction
from trainer.data.guesses import with_guesses
from trainer.data.protocol import Store
from trainer.data.sampler import Sampler, widest
from trainer.data.share import Share
from trainer.data.weights import in_fold, with_weights
from trainer.engine.distributed import World
from trainer.engine.loop import train
from trainer.models.frozen.embeddings import through_cache
from trainer.models.peers import Peers
from trainer.models.registry import build_model, build_tokens, frozen_parts
from trainer.models.saved_model import FACTS, save_model, seeded
from trainer.objectives.registry import make_objective
from trainer.run_folder import claim, run_facts, settle_lanes, start, write_facts
from trainer.weighting.dataset import dataset_weights
from trainer.weighting.protocol import Known, Weigher
from trainer.weighting.registry import ORACLES, WEIGHTS, make_weigher, sidecars


def fit(
    root: Path,
    recipe: TrainRecipe,
    *,
    out: Path,
    seed: int = 0,
    name: str | None = None,
    oracle: bool = False,
    sidecar: str = WEIGHTS,
    leave_out: int | None = None,
    stop_at: int | None = None,
    on: Literal["here", "ray"] = "here",
    workers: int | None = None,
) -> Path:
    """Train a segmenter and write it to the run folder `out`.

    Args:
        root: a finished dataset folder.
        recipe: what to train and how to weigh.
        out: the run folder, new or of the same run.
        seed: of parameters and batches.
        name: what reports call this method; the weighting's name when None.
        oracle: learn from audit gold too. An upper bound, marked as such in run.json.
        sidecar: the weights sidecar, read by the weightings that weigh by it.
        leave_out: a fold of that sidecar from which nothing is learnt, so that the model can be asked about it.
        stop_at: stop after this many steps, unfinished, as if interrupted.
        on: here: this process, or those that torchrun started. ray: Ray Train starts them.
        workers: how many processes Ray starts; one for each GPU of its cluster, or one, when None.

    Returns:
        `out`.

    Raises:
        ValueError: `out` is of another run, or the dataset, the sidecar or the recipe does not allow the training.
        Interrupted: SIGTERM or SIGINT came; the state is saved (trainer.engine.stop).
    """
    asked: Any = {
        "seed": seed, "name": name, "oracle": oracle, "sidecar": sidecar, "leave_out": leave_out,
    }  # fmt: skip
    return start(
        partial(_fit, root.resolve(), recipe, out.resolve(), **asked, stop_at=stop_at),
        facts=partial(_facts, root, recipe, **asked),
        out=out,
        finished=FACTS,
        run=recipe.run,
        on=on,
        workers=workers,
    )


def _facts(
    root: Path,
    recipe: TrainRecipe,
    *,
    seed: int,
    name: str | None,
    oracle: bool,
    sidecar: str,
    leave_out: int | None,
) -> dict[str, Any]:
    """What a run folder belongs to."""
    manifest = read_manifest(root)
    facts = run_facts(
        recipe,
        dataset=manifest.name,
        dataset_hash=manifest.recipe_hash,
        method=name or recipe.weight.method,
        seed=seed,
    )
    facts["oracle"] = oracle or recipe.weight.method in ORACLES
    for which, read in zip(
        ("weights", "guesses"), sidecars(recipe.weight, weights=sidecar), strict=False
    ):
        facts[f"{which}_sha256"] = _hash_sidecar(root, read)
    if leave_out is not None:
        facts["left_out_fold"] = leave_out
    if frozen := frozen_parts(recipe.model):
        facts["frozen"] = {part: named.revision for part, named in frozen.items()}
    return facts


def _fit(
    root: Path,
    recipe: TrainRecipe,
    out: Path,
    world: World,
    *,
    seed: int,
    name: str | None,
    oracle: bool,
    sidecar: str,
    leave_out: int | None,
    stop_at: int | None,
) -> None:
    """What each of the processes that train together does."""
    facts = _facts(
        root, recipe, seed=seed, name=name, oracle=oracle, sidecar=sidecar, leave_out=leave_out
    )
    claim(out, facts, write=world.leads)
    if (out / FACTS).exists():
        return
    stored = open_dataset(root, recipe.data, oracle=oracle)
    reads = sidecars(recipe.weight, weights=sidecar)
    table: Store = with_weights(stored, root, sidecar=sidecar) if sidecar in reads else stored
    if guesses_sidecar(sidecar) in reads:
        unsound = ~table.is_gold & (table.p_clean < recipe.weight.zero_below)
        table = with_guesses(table, root, unsound, sidecar=sidecar)
    texts = (text for phrasings in table.instructions for text in phrasings)
    tokenizer = build_tokens(recipe.model, texts, data=recipe.data)
    steps = recipe.optim.steps
    known = Known(store=table, root=root, seed=seed, steps=steps, world=world)
    weigher = make_weigher(recipe.weight, known)
    counted = _counted(table, weigher)
    counted &= in_fraction(table.shas, recipe.data.fraction)
    if leave_out is not None:
        counted &= ~in_fold(table, root, leave_out, sidecar=sidecar)
    sampler = Sampler(
        table=table,
        tokenizer=tokenizer,
        config=settle_lanes(out, recipe.data, world),
        seed=seed,
        drawn=counted,
        share=Share(rank=world.rank, world=world.size),
        width=widest(tokenizer, table.instructions) if recipe.run.compile else 0,
    )
    with seeded(seed):
        peers = [
            build_model(recipe.model, tokenizer, size_hw=recipe.data.size_hw)
            for _ in range(weigher.peers)
        ]
        model = peers[0]
        objective = make_objective(
            recipe, weigher=weigher, model=model, samples=len(table), world=world
        )
    batch_at = through_cache(
        sampler.batch_at, root=root, recipe=recipe, store=table, model=model, device=world.device,
        rank=world.rank, world=world.size,
    )  # fmt: skip
    done = train(
        model if len(peers) == 1 else Peers(peers),
        objective=objective,
        batch_at=batch_at,
        optim=recipe.optim,
        run=recipe.run,
        world=world,
        folder=out,
        seed=seed,
        stop_at=stop_at,
    )
    if done.steps < recipe.optim.steps:
        return
    facts |= {
        "bad_steps": done.bad_steps,
        "dataset_licences": read_manifest(root).totals.licences,
        "samples": len(table),
        "gold": int(table.is_gold.sum()),
        "drawn": int(counted.sum()),
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
    }
    if world.leads:
        write_facts(out, facts)
        save_model(out, model, recipe=recipe, tokenizer=tokenizer)
    world.meet()


def _counted(table: Store, weigher: Weigher) -> torch.Tensor:
    """bool n: samples that this weighting gives any weight at all; the others are not drawn."""
    n = len(table)
    if weigher.reads_losses:
        return torch.ones(n, dtype=torch.bool)
    return dataset_weights(table, weigher) > 0


def _hash_sidecar(root: Path, name: str) -> str:
    path = sidecar_path(root, name)
    if not path.exists():
        raise ValueError(
            f"{root} has no sidecar {name!r}; run `maskmix discriminate {root}` before fitting with it"
        )
    return hashlib.sha256(path.read_bytes()).hexdigest()
