"""Train one model on one dataset folder: `RUN/{run.json, log.jsonl, checkpoints/, model.safetensors, model.json}`.

model.json is written last, so its existence means the run is finished; running the same command again continues a run
that was stopped, or finds it finished. A run folder belongs to one recipe, dataset and seed for ever.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch

from pipeline.manifest import read_manifest
from pipeline.shards import write_atomic
from pipeline.sidecar import sidecar_path
from trainer.config import TrainRecipe, recipe_hash
from trainer.data.sampler import Sampler
from trainer.data.table import Table, load_table
from trainer.data.tokens import learn_tokenizer
from trainer.data.weights import with_weights
from trainer.engine.loop import train
from trainer.models.saved_model import FACTS, build_segmenter, save_model, seeded
from trainer.objectives.segmentation import Segmentation
from trainer.weighting.dataset import dataset_weights
from trainer.weighting.protocol import Weigher
from trainer.weighting.registry import make_weigher

RUN = "run.json"
NEEDS_SIDECAR = ("dwsl", "given")


def fit(
    root: Path,
    recipe: TrainRecipe,
    *,
    out: Path,
    seed: int = 0,
    name: str | None = None,
    oracle: bool = False,
    sidecar: str = "weights",
    stop_at: int | None = None,
) -> Path:
    """Train a segmenter and write it to the run folder `out`.

    Args:
        root: a finished dataset folder.
        recipe: what to train and how to weigh.
        out: the run folder, new or of the same run.
        seed: of parameters and batches.
        name: what reports call this method; the weighting's name when None.
        oracle: learn from audit gold too. An upper bound, marked as such in run.json.
        sidecar: the weights sidecar, read by the weightings that need one.
        stop_at: stop after this many steps, unfinished, as if interrupted.

    Returns:
        `out`.

    Raises:
        ValueError: `out` is of another run, or the dataset, the sidecar or the recipe does not allow the training.
    """
    facts: dict[str, Any] = {
        "dataset": read_manifest(root).name,
        "dataset_hash": read_manifest(root).recipe_hash,
        "method": name or recipe.weight.method,
        "oracle": oracle,
        "recipe": recipe.model_dump(mode="json"),
        "recipe_hash": recipe_hash(recipe),
        "seed": seed,
        "torch": torch.__version__,
    }
    if recipe.weight.method in NEEDS_SIDECAR:
        facts["weights_sha256"] = _hash_sidecar(root, sidecar)
    out.mkdir(parents=True, exist_ok=True)
    _claim(out, facts)
    if (out / FACTS).exists():
        return out
    table = load_table(root, size_hw=recipe.data.size_hw, oracle=oracle)
    if recipe.weight.method in NEEDS_SIDECAR:
        table = with_weights(table, root, sidecar=sidecar)
    tokenizer = learn_tokenizer(
        (text for phrasings in table.instructions for text in phrasings),
        max_words=recipe.data.max_words,
        max_tokens=recipe.data.max_tokens,
    )
    weigher = make_weigher(recipe.weight)
    counted = _counted(table, weigher)
    sampler = Sampler(
        table=table, tokenizer=tokenizer, config=recipe.data, seed=seed, drawn=counted
    )
    with seeded(seed):
        model = build_segmenter(recipe.model, tokenizer)
    done = train(
        model,
        objective=Segmentation(loss=recipe.loss, weigher=weigher),
        batch_at=sampler.batch_at,
        optim=recipe.optim,
        folder=out,
        stop_at=stop_at,
    )
    if done.steps < recipe.optim.steps:
        return out
    facts |= {
        "bad_steps": done.bad_steps,
        "samples": len(table),
        "gold": int(table.is_gold.sum()),
        "drawn": int(counted.sum()),
        "parameters": sum(p.numel() for p in model.parameters()),
    }
    _write(out / RUN, facts)
    save_model(out, model, recipe=recipe, tokenizer=tokenizer)
    return out


def _counted(table: Table, weigher: Weigher) -> torch.Tensor:
    """bool n: samples that this weighting gives any weight at all; the others are not drawn."""
    n = len(table)
    if weigher.reads_losses:
        return torch.ones(n, dtype=torch.bool)
    return dataset_weights(table, weigher) > 0


def _claim(out: Path, facts: dict[str, Any]) -> None:
    path = out / RUN
    if not path.exists():
        _write(path, facts)
        return
    have = json.loads(path.read_bytes())
    odd = [key for key, value in facts.items() if have.get(key) != value]
    if odd:
        raise ValueError(
            f"{out} holds another run ({', '.join(f'{k}: {_brief(have.get(k))}' for k in odd)}); "
            "choose another folder, or delete this one"
        )


def _brief(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _hash_sidecar(root: Path, name: str) -> str:
    path = sidecar_path(root, name)
    if not path.exists():
        raise ValueError(
            f"{root} has no sidecar {name!r}; run `maskmix discriminate {root}` before fitting with it"
        )
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _write(path: Path, facts: dict[str, Any]) -> None:
    write_atomic(
        path, json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"
    )
