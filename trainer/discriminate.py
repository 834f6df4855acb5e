"""Score every label of a dataset out of sample and leave the scores beside the shards.

The images are dealt into K folds; the discriminator that judges an image never saw it, neither with another
instruction nor as gold. Machine samples are judged by their machine label, gold samples by the gold mask. What it
thinks of the machine's labels of gold samples stands in a sidecar of its own, since there learning may know the truth
(trainer.measure.reliability). Audit gold is not learnt from: it only measures how well the scores tell good labels
(IoU >= 0.5) from bad ones.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from annotators.calibration import reliability_bins
from pipeline.manifest import read_manifest
from pipeline.shards import write_atomic
from pipeline.sidecar import LABELS, WEIGHTS, labels_sidecar, write_sidecar
from trainer.config import TrainRecipe
from trainer.data.config import DataConfig
from trainer.data.guesses import encode_guess, write_guesses
from trainer.data.sampler import Sampler
from trainer.data.table import Table, load_table, take
from trainer.data.tokens import Tokenizer, learn_tokenizer
from trainer.engine.distributed import choose_device
from trainer.engine.loop import train
from trainer.engine.side_by_side import run_side_by_side
from trainer.losses import SAME
from trainer.measure.confident_issues import find_issues, write_issues
from trainer.models.frozen.embeddings import EmbeddingCache, open_cache, through_cache
from trainer.models.judge import Judge
from trainer.models.looking import guess_through, look_through
from trainer.models.protocol import TextTokens
from trainer.models.registry import build_discriminator, build_tokens
from trainer.models.saved_judge import save_judge
from trainer.models.saved_model import seeded
from trainer.objectives.label_quality import LabelQuality
from trainer.run_folder import claim
from trainer.weighting.dataset import dataset_weights
from trainer.weighting.dwsl import Dwsl

MADE_BY = "maskmix.made_by"
"""Key of `made_by` in the metadata of a weights sidecar."""
WRITTEN = ("f", "zero_below", "guesses", "confident", "confident_share")
"""Keys of `recipe.discriminate` that say what is written of the answers, and change none."""


def discriminate(
    root: Path,
    recipe: TrainRecipe,
    *,
    out: Path | None = None,
    seed: int = 0,
    name: str = "weights",
    workers: int = 1,
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
        workers: trainings side by side (trainer.engine.side_by_side).
        confident_only: write `confident` and leave the other sidecars as they are.

    Returns:
        What discriminator.json holds (data_cards/FORMAT.md).

    Raises:
        ValueError: the dataset has gold with role "train" on fewer than two images, or no machine label; or a fold's
            folder in `out` is of other folds, another recipe or another dataset.
    """
    table = load_table(root, size_hw=recipe.data.size_hw)
    fold_of = deal_folds(table, folds=recipe.discriminate.folds, seed=seed)
    found = np.full((4, len(table)), np.nan, np.float64)
    guesses: dict[str, bytes] = {}
    jobs = [
        (root, recipe, fold, seed, None if out is None else out / f"fold-{fold}")
        for fold in range(recipe.discriminate.folds)
    ]
    for fold, (its, theirs) in run_side_by_side(score_fold, jobs, workers=workers):
        found[:, fold_of == fold] = its
        guesses |= theirs
    scores, of_labels, quality, issues = found
    assert np.isfinite(scores).all()
    assert np.isfinite(of_labels).all()
    config = recipe.discriminate
    if config.confident:
        share = config.confident_share
        write_issues(root, ids=table.ids, quality=quality, issues=issues, share=share)
    facts = {"folds": config.folds, "loss": config.loss, **measure_scores(table, scores)}
    facts["leakage_auc"] = leakage_auc(table, fold_of)
    if confident_only:
        return facts
    p_clean = torch.from_numpy(scores.astype(np.float32))
    weigher = Dwsl(f=config.f, zero_below=config.zero_below)
    weight = dataset_weights(replace(table, p_clean=p_clean), weigher)
    mean = float(weight[~table.is_gold].mean())
    weight = weight / mean if mean > 0 else weight
    columns = {"sample_id": list(table.ids), "fold": fold_of.astype(np.int16)}
    judged = columns | {"p_clean": p_clean.numpy(), "weight": weight.numpy()}
    told = {MADE_BY: made_by(root, recipe)}
    write_sidecar(root, name, pa.table(judged, schema=WEIGHTS.with_metadata(told)))
    if config.guesses:
        write_guesses(root, sidecar=name, guesses=guesses)
    labels = columns | {"p_label": of_labels}
    write_sidecar(root, labels_sidecar(name), pa.table(labels, schema=LABELS))
    text = json.dumps(facts, indent=1, sort_keys=True, allow_nan=False)
    write_atomic(root / "sidecars" / "discriminator.json", text.encode() + b"\n")
    return facts


def score_fold(
    root: Path, recipe: TrainRecipe, fold: int, seed: int, folder: Path | None
) -> tuple[NDArray[np.float64], dict[str, bytes]]:
    """What a discriminator that saw only the other folds says of one fold: (float64 4n in dataset order, guesses).

    p_clean of the targets; p_clean of the machine labels, another number where the target is gold; and what
    `find_issues` says of the targets, NaN where the recipe does not ask. The guesses for machine samples by id, as PNG;
    none where the recipe does not ask.
    """
    if folder is not None:
        claim(folder, {"judges": _learnt_from(root, recipe), "fold": fold, "seed": seed})
    table = load_table(root, size_hw=recipe.data.size_hw)
    fold_of = deal_folds(table, folds=recipe.discriminate.folds, seed=seed)
    others = take(table, np.flatnonzero(fold_of != fold).tolist())
    model, tokenizer = train_discriminator(
        others, recipe, root=root, seed=seed * 1000 + fold, folder=folder
    )
    cache = open_cache(root, recipe) if _eyes(model) is not None else None
    if folder is not None:
        save_judge(folder, model, recipe=recipe, tokenizer=tokenizer)
    mine = take(table, np.flatnonzero(fold_of == fold).tolist())
    scores = score(model, mine, tokenizer=tokenizer, cache=cache)
    of_labels = scores.copy()
    gold = np.flatnonzero(mine.is_gold.numpy())
    if len(gold):
        theirs = take(mine, gold.tolist())
        theirs = replace(theirs, target=theirs.label)
        of_labels[gold] = score(model, theirs, tokenizer=tokenizer, cache=cache)
    issues = np.full((2, len(mine)), np.nan)
    if recipe.discriminate.confident:
        issues[:] = find_issues(model, mine, tokenizer=tokenizer, cache=cache)
    guesses: dict[str, bytes] = {}
    if recipe.discriminate.guesses:
        machines = take(mine, np.flatnonzero(~mine.is_gold.numpy()).tolist())
        asked = "discriminate.guesses"
        for where, guess in guess_through(
            model, machines, tokenizer=tokenizer, wanted_by=asked, cache=cache
        ):
            guesses |= zip(machines.ids[where], map(encode_guess, guess), strict=True)
    return np.stack([scores, of_labels, *issues]), guesses


def made_by(root: Path, recipe: TrainRecipe) -> str:
    """A hash of what decides the scores beside the seed, which the weights sidecar carries as `MADE_BY`."""
    told = json.dumps(_learnt_from(root, recipe), sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()


def _learnt_from(root: Path, recipe: TrainRecipe) -> dict[str, Any]:
    """What the folds' discriminators learn from and how; what is merely written of their answers is left out."""
    told = recipe.model_dump(mode="json")
    return {
        "dataset_hash": read_manifest(root).recipe_hash,
        "data": {k: v for k, v in told["data"].items() if k not in ("gold_share", "fraction")},
        "model": told["model"],
        "discriminate": {k: v for k, v in told["discriminate"].items() if k not in WRITTEN},
    }


def deal_folds(table: Table, *, folds: int, seed: int) -> NDArray[np.int64]:
    """The fold of each sample, the same for all samples of an image; gold images are spread evenly.

    Raises:
        ValueError: fewer than two images have gold, so that some fold would be judged without any; or no sample is
            the machine's.
    """
    gold = {sha for sha, is_gold in zip(table.shas, table.is_gold.tolist(), strict=True) if is_gold}
    if len(gold) < 2 or bool(table.is_gold.all()):
        raise ValueError(
            f"{len(gold)} images with gold (role 'train') and {int((~table.is_gold).sum())} machine samples; a "
            "discriminator needs at least two gold images and some machine labels: label more by hand, or fit uniform"
        )

    def order(sha: str) -> str:
        return hashlib.sha256(f"{seed}/{sha}".encode()).hexdigest()

    dealt = [*sorted(gold, key=order), *sorted(set(table.shas) - gold, key=order)]
    fold = {sha: i % folds for i, sha in enumerate(dealt)}
    return np.array([fold[sha] for sha in table.shas], np.int64)


def train_discriminator(
    table: Table, recipe: TrainRecipe, *, seed: int, folder: Path | None, root: Path | None = None
) -> tuple[Judge, TextTokens]:
    """One discriminator over all samples of `table`, half of every batch gold.

    `root` is the dataset folder that they are of; without it no embeddings are kept, whatever the recipe says.
    """
    texts = [text for phrasings in table.instructions for text in phrasings]
    data = DataConfig(**{**recipe.data.model_dump(), "gold_share": 0.5})
    tokenizer = build_tokens(recipe.model, texts, data=data)
    with seeded(seed):
        model = build_discriminator(recipe.model, tokenizer, size_hw=data.size_hw)
    drawn = torch.ones(len(table), dtype=torch.bool)
    sampler = Sampler(table=table, tokenizer=tokenizer, config=data, seed=seed, drawn=drawn)
    batch_at = sampler.batch_at
    if root is not None and (eyes := _eyes(model)) is not None:
        batch_at = through_cache(
            batch_at, root=root, recipe=recipe, store=table, model=eyes, device=choose_device(recipe.run.device),
        )  # fmt: skip
    train(
        cast(torch.nn.Module, model),
        objective=LabelQuality(config=recipe.discriminate),
        batch_at=batch_at,
        optim=recipe.discriminate.optim,
        run=recipe.run,
        folder=folder,
    )
    return cast(Judge, model), tokenizer


def _eyes(model: Any) -> Any:
    """The part of a discriminator whose frozen image encoder makes embeddings, if it has one."""
    guesser = getattr(model, "guesser", None)
    return guesser if hasattr(guesser, "embed") else None


@torch.no_grad()
def score(
    model: Judge, table: Table, *, tokenizer: TextTokens, cache: EmbeddingCache | None = None
) -> NDArray[np.float64]:
    """p_clean of every sample's target, float64 n in [0, 1]."""
    cast(torch.nn.Module, model).eval()
    rows = []
    for where, sight in look_through(model, table, tokenizer=tokenizer, cache=cache):
        mask = table.target[where, None].to(sight.image.device).float() / 255.0
        rows.append(model.judge(sight, mask).sigmoid().cpu())
    return torch.cat(rows).double().numpy()


def measure_scores(table: Table, scores: NDArray[np.float64]) -> dict[str, Any]:
    """AUCs, ROC and reliability of p_clean; the parts that need audit gold are null or empty without it."""
    from sklearn.metrics import roc_curve

    is_gold = table.is_gold.numpy()
    ious = table.label_iou.numpy()
    audited = ~is_gold & np.isfinite(ious)
    good = ious[audited] >= SAME
    judged = scores[audited]
    roc: dict[str, list[float]] = {"fpr": [], "tpr": []}
    reliability: list[dict[str, Any]] = []
    if 0 < good.sum() < len(good):
        fpr, tpr, _ = roc_curve(good, judged)
        thin = np.unique(np.linspace(0, len(fpr) - 1, min(len(fpr), 101)).round().astype(int))
        roc = {
            "fpr": [round(float(x), 5) for x in fpr[thin]],
            "tpr": [round(float(x), 5) for x in tpr[thin]],
        }
    if len(good):
        reliability = [
            {
                "lo": b.lo,
                "hi": b.hi,
                "n": b.n,
                "p_mean": round(b.mean, 5),
                "good_share": round(b.share, 5),
            }
            for b in reliability_bins(judged, good)
        ]
    return {
        "auc_gold_vs_machine": _auc(is_gold, scores),
        "auc_good_vs_bad": _auc(good, judged),
        "reliability": reliability,
        "roc": roc,
    }


def leakage_auc(table: Table, fold_of: NDArray[np.int64]) -> float | None:
    """How well a linear probe on image and text alone tells gold samples from machine ones, out of sample.

    What it finds has nothing to do with masks: 0.5 says that the data sets cannot be told apart without looking at
    the labels. Features are an 8x8 thumbnail and the words of the first phrasing.
    """
    from sklearn.linear_model import LogisticRegression

    tokenizer = learn_tokenizer([texts[0] for texts in table.instructions], max_words=256)
    thumbs = torch.nn.functional.adaptive_avg_pool2d(table.images.float() / 255.0, 8).flatten(1)
    words = _bag([texts[0] for texts in table.instructions], tokenizer)
    x = torch.cat([thumbs[table.image_of] - 0.5, words], 1).numpy()
    y = table.is_gold.numpy()
    scores = np.zeros(len(y))
    for fold in np.unique(fold_of):
        mine = fold_of == fold
        probe = LogisticRegression(C=0.1, class_weight="balanced", max_iter=500)
        scores[mine] = probe.fit(x[~mine], y[~mine]).decision_function(x[mine])
    return _auc(y, scores)


def _bag(texts: Sequence[str], tokenizer: Tokenizer) -> Tensor:
    tokens = tokenizer.encode(texts)
    bag = torch.zeros(len(texts), tokenizer.size)
    bag.scatter_(1, tokens, 1.0)
    return bag[:, 1:]


def _auc(positive: NDArray[np.bool_], scores: NDArray[np.float64]) -> float | None:
    from sklearn.metrics import roc_auc_score

    if not 0 < positive.sum() < len(positive):
        return None
    return round(float(roc_auc_score(positive, scores)), 5)
