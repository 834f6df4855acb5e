"""One fold's judge: a discriminator that learns from the other folds and is asked about this one.

All processes of a world learn together and share the questions; what they hear comes together at the first of them.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.manifest import read_manifest
from trainer.config import TrainRecipe
from trainer.data.config import DataConfig
from trainer.data.guesses import encode_guess
from trainer.data.part import Part
from trainer.data.protocol import Store
from trainer.data.sampler import Sampler
from trainer.data.share import Share
from trainer.data.table import mask_iou
from trainer.engine.distributed import World, choose_device
from trainer.engine.loop import train
from trainer.measure.confident_issues import find_issues
from trainer.models.frozen.embeddings import EmbeddingCache, open_cache, through_cache
from trainer.models.judge import Judge, Sight
from trainer.models.looking import guess_of, look_through
from trainer.models.protocol import TextTokens
from trainer.models.registry import build_discriminator, build_tokens
from trainer.models.saved_judge import save_judge
from trainer.models.saved_model import seeded
from trainer.objectives.label_quality import LabelQuality
from trainer.run_folder import claim, settle_lanes

Floats = NDArray[np.float64]
WRITTEN = ("f", "zero_below", "guesses", "confident", "confident_share")
"""Keys of `recipe.discriminate` that say what is written of the answers, and change none."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Verdicts:
    """What judges say of k samples of a dataset.

    rows: int64 k. p_clean: of the targets, float64 k in [0, 1]. p_label: of the machine's labels, another number where
    the target is gold. guess_iou: of the judges' own masks with gold targets, NaN elsewhere, or where they draw none.
    quality, issues: what `find_issues` says of the targets, NaN where nobody asked. guesses: for machine samples by id,
    PNG; empty where nobody asked.
    """

    rows: NDArray[np.int64]
    p_clean: Floats
    p_label: Floats
    guess_iou: Floats
    quality: Floats
    issues: Floats
    guesses: Mapping[str, bytes]


def together(parts: Sequence[Verdicts]) -> Verdicts:
    """Verdicts on distinct rows as one, in the order of rows."""
    rows = np.concatenate([part.rows for part in parts])
    order = np.argsort(rows)

    def joined(name: str) -> Floats:
        return np.concatenate([getattr(part, name) for part in parts])[order]

    return Verdicts(
        rows=rows[order],
        p_clean=joined("p_clean"),
        p_label=joined("p_label"),
        guess_iou=joined("guess_iou"),
        quality=joined("quality"),
        issues=joined("issues"),
        guesses={key: png for part in parts for key, png in part.guesses.items()},
    )


def deal_folds(store: Store, *, folds: int, seed: int) -> NDArray[np.int64]:
    """The fold of each sample, the same for all samples of an image; gold images are spread evenly.

    Raises:
        ValueError: fewer than two images have gold, so that some fold would be judged without any; or no sample is
            the machine's.
    """
    shas, is_gold = list(store.shas), store.is_gold
    gold = {sha for sha, its in zip(shas, is_gold.tolist(), strict=True) if its}
    if len(gold) < 2 or bool(is_gold.all()):
        raise ValueError(
            f"{len(gold)} images with gold (role 'train') and {int((~is_gold).sum())} machine samples; a "
            "discriminator needs at least two gold images and some machine labels: label more by hand, or fit uniform"
        )

    def order(sha: str) -> str:
        return hashlib.sha256(f"{seed}/{sha}".encode()).hexdigest()

    dealt = [*sorted(gold, key=order), *sorted(set(shas) - gold, key=order)]
    fold = {sha: i % folds for i, sha in enumerate(dealt)}
    return np.array([fold[sha] for sha in shas], np.int64)


def judge_fold(
    store: Store,
    root: Path,
    recipe: TrainRecipe,
    fold: int,
    *,
    seed: int,
    folder: Path | None,
    world: World,
) -> Verdicts:
    """What a discriminator that saw only the other folds says of one fold.

    The first process hears all of it, the others their share.

    Args:
        store: the whole dataset.
        root: its folder.
        recipe: `recipe.discriminate` says how.
        fold: which one.
        seed: of folds, parameters and batches.
        folder: for its log, checkpoints and the discriminator, resumed where it stands; None keeps none.
        world: the processes that learn and answer together, all of which call this.

    Raises:
        ValueError: the folder is of another judge, or what the training raises.
        Interrupted: a signal came; the state is saved.
    """
    config = recipe.discriminate
    if folder is not None:
        claim(folder, {**learnt_from(root, recipe), "fold": fold, "seed": seed}, write=world.leads)
    fold_of = deal_folds(store, folds=config.folds, seed=seed)
    others = Part(store=store, rows=np.flatnonzero(fold_of != fold))
    model, tokenizer = train_discriminator(
        others, recipe, root=root, seed=seed * 1000 + fold, folder=folder, world=world
    )
    cache = open_cache(root, recipe) if _eyes(model) is not None else None
    if folder is not None and world.leads:
        save_judge(folder, model, recipe=recipe, tokenizer=tokenizer)
    mine = np.flatnonzero(fold_of == fold)
    share = mine[world.rank :: world.size]
    asked = Part(store=store, rows=share)
    found = ask(model, asked, tokenizer=tokenizer, guesses=config.guesses, cache=cache)
    found = replace(found, rows=share[found.rows])
    heard = world.collect(found)
    if not world.leads:
        return found
    verdicts = together(heard)
    if config.confident:  # cleanlab estimates over a fold as a whole
        whole = Part(store=store, rows=mine)
        quality, issues = find_issues(model, whole, tokenizer=tokenizer, cache=cache)
        verdicts = replace(verdicts, quality=quality, issues=issues)
    return verdicts


def learnt_from(root: Path, recipe: TrainRecipe) -> dict[str, Any]:
    """What a judge's folder belongs to beside fold and seed: what it learns from and how, not what is written of it."""
    told = recipe.model_dump(mode="json")
    return {
        "judges": {
            "dataset_hash": read_manifest(root).recipe_hash,
            "data": {k: v for k, v in told["data"].items() if k not in ("gold_share", "fraction")},
            "model": told["model"],
            "discriminate": {k: v for k, v in told["discriminate"].items() if k not in WRITTEN},
        }
    }


def train_discriminator(
    store: Store,
    recipe: TrainRecipe,
    *,
    seed: int,
    folder: Path | None,
    root: Path | None = None,
    world: World | None = None,
) -> tuple[Judge, TextTokens]:
    """One discriminator over all samples of `store`, half of every batch gold.

    `root` is the dataset folder that they are of; without it no embeddings are kept, whatever the recipe says. Of a
    world of several, all processes call this; without a folder the lanes of an epoch are as many as they are.
    """
    world = world or World(device=choose_device(recipe.run.device))
    data = DataConfig(**{**recipe.data.model_dump(), "gold_share": 0.5})
    if folder is not None:
        data = settle_lanes(folder, data, world)
    texts = (text for phrasings in store.instructions for text in phrasings)
    tokenizer = build_tokens(recipe.model, texts, data=data)
    with seeded(seed):
        model = build_discriminator(recipe.model, tokenizer, size_hw=data.size_hw)
    sampler = Sampler(
        table=store,
        tokenizer=tokenizer,
        config=data,
        seed=seed,
        drawn=torch.ones(len(store), dtype=torch.bool),
        share=Share(rank=world.rank, world=world.size),
    )
    batch_at = sampler.batch_at
    if root is not None and (eyes := _eyes(model)) is not None:
        batch_at = through_cache(
            batch_at, root=root, recipe=recipe, store=store, model=eyes, device=world.device,
            rank=world.rank, world=world.size,
        )  # fmt: skip
    train(
        cast(torch.nn.Module, model),
        objective=LabelQuality(config=recipe.discriminate, world=world),
        batch_at=batch_at,
        optim=recipe.discriminate.optim,
        run=recipe.run,
        world=world,
        folder=folder,
    )
    return cast(Judge, model), tokenizer


def _eyes(model: Any) -> Any:
    """The part of a discriminator whose frozen image encoder makes embeddings, if it has one."""
    guesser = getattr(model, "guesser", None)
    return guesser if hasattr(guesser, "embed") else None


@torch.no_grad()
def ask(
    model: Judge,
    store: Store,
    *,
    tokenizer: TextTokens,
    guesses: bool = False,
    cache: EmbeddingCache | None = None,
) -> Verdicts:
    """What one judge says of every sample of `store`, in its order; `guesses`: also what it would draw.

    Raises:
        ValueError: guesses are asked of a discriminator that has none.
    """
    cast(torch.nn.Module, model).eval()
    said = np.full((5, len(store)), np.nan)
    p_clean, p_label, guess_iou, quality, issues = said
    pngs: dict[str, bytes] = {}
    for where, frames, sight in look_through(model, store, tokenizer=tokenizer, cache=cache):
        gold = store.is_gold[where]
        p_clean[where] = p_label[where] = _judged(model, sight, frames.target)
        if bool(gold.any()):
            theirs = sight.pick(gold.to(sight.image.device))
            p_label[where][gold.numpy()] = _judged(model, theirs, frames.label[gold])
        if guesses or sight.guess is not None:
            drawn = guess_of(sight, wanted_by="discriminate.guesses")
            for at in gold.nonzero()[:, 0].tolist():
                guess_iou[where][at] = mask_iou(drawn[at] >= 0.5, frames.target[at].numpy() >= 128)
            if guesses:
                named = zip(store.ids[where], drawn, gold.tolist(), strict=True)
                pngs |= {key: encode_guess(guess) for key, guess, its in named if not its}
    return Verdicts(
        rows=np.arange(len(store)),
        p_clean=p_clean,
        p_label=p_label,
        guess_iou=guess_iou,
        quality=quality,
        issues=issues,
        guesses=pngs,
    )


def _judged(model: Judge, sight: Sight, masks: torch.Tensor) -> Floats:
    """Verdicts b in [0, 1] on masks uint8 bhw."""
    mask = masks[:, None].to(sight.image.device).float() / 255.0
    return model.judge(sight, mask).float().sigmoid().cpu().double().numpy()
