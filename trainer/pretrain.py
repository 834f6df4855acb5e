"""Pre-train an encoder: `RUN/{run.json, log.jsonl, checkpoints/, encoder.safetensors, encoder.json}`.

On a dataset folder, of which no label is looked at, or on a plain folder of pictures. The run folder is as that of
`trainer.fit`: bound to recipe, data and seed, continued where it was stopped, finished when encoder.json is there.

A dataset has several samples of one photograph. Masked image modelling draws photographs, each once an epoch; what
learns from texts draws samples, or photographs with all that is said of them (`objective.texts`).
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from annotators.models.weights import UNKNOWN
from pipeline.intake.image_files import first_of_each
from pipeline.manifest import MANIFEST, read_manifest
from pipeline.records import Reject
from pipeline.shards import write_atomic
from trainer.data.captions import captioned
from trainer.data.dataset import open_dataset
from trainer.data.fraction import in_fraction
from trainer.data.pictures import open_pictures
from trainer.data.protocol import Store
from trainer.data.sampler import Sampler, widest
from trainer.data.share import Share
from trainer.data.tokens import Tokenizer, learn_tokenizer
from trainer.engine.distributed import World
from trainer.engine.loop import train
from trainer.masking.registry import make_masking
from trainer.models.saved_model import seeded
from trainer.models.vit.autoencoder import Autoencoder
from trainer.models.vit.dual import Dual
from trainer.models.vit.saved_encoder import FACTS, save_encoder
from trainer.objectives.cfm import Cfm
from trainer.objectives.mim import Mim
from trainer.pretrain_config import PretrainRecipe
from trainer.run_folder import claim, run_facts, settle_lanes, start, write_facts

REJECTS = "rejects.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """What an encoder is pre-trained on.

    name, digest: which data these are. licences: licence -> samples that have it. lines: what became of the files of a
    plain folder; rejected: those of them that are not learnt from. A dataset has neither.
    """

    store: Store
    name: str
    digest: str
    licences: dict[str, int]
    lines: tuple[str, ...] = ()
    rejected: tuple[Reject, ...] = ()


def open_corpus(root: Path, recipe: PretrainRecipe) -> Corpus:
    """A dataset folder, or a plain folder of pictures, with texts where the recipe learns from texts.

    Raises:
        ValueError: there is no such folder, the dataset is unfinished or damaged, or no picture can be used.
    """
    if (root / MANIFEST).exists():
        manifest = read_manifest(root)
        corpus = Corpus(
            store=open_dataset(root, recipe.data),
            name=manifest.name,
            digest=manifest.recipe_hash,
            licences=dict(manifest.totals.licences),
        )
    else:
        pictures = open_pictures(root, recipe.data, texts=_reads(recipe))
        corpus = Corpus(
            store=pictures,
            name=root.resolve().name,
            digest=pictures.digest,
            licences={UNKNOWN: len(pictures)},
            lines=tuple(pictures.lines()),
            rejected=pictures.rejected,
        )
    return replace(corpus, store=captioned(corpus.store)) if _of_photographs(recipe) else corpus


def pretrain(
    root: Path,
    recipe: PretrainRecipe,
    *,
    out: Path,
    seed: int = 0,
    stop_at: int | None = None,
    on: Literal["here", "ray"] = "here",
    workers: int | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Path:
    """Pre-train an encoder and write it to the run folder `out`.

    Args:
        root: a finished dataset folder, or a folder of pictures (trainer.data.pictures).
        recipe: what to learn, and how.
        out: the run folder, new or of the same run.
        seed: of parameters and batches.
        stop_at: stop after this many steps, unfinished, as if interrupted.
        on: here: this process, or those that torchrun started. ray: Ray Train starts them.
        workers: how many processes Ray starts; one for each GPU of its cluster, or one, when None.
        tell: hears what became of the files of a plain folder; those not learnt from stand in `out`/rejects.jsonl.

    Returns:
        `out`.

    Raises:
        ValueError: `out` is of another run, or the data or the recipe does not allow the training.
        Interrupted: SIGTERM or SIGINT came; the state is saved (trainer.engine.stop).
    """
    root, target = root.resolve(), out.resolve()
    work = partial(_pretrain, root, recipe, target, seed=seed, stop_at=stop_at)

    def facts() -> dict[str, Any]:
        corpus = open_corpus(root, recipe)
        _say(corpus, tell)
        return _facts(corpus, recipe, seed)

    start(
        work if on == "ray" else partial(work, tell=tell),
        facts=facts,
        out=out,
        finished=FACTS,
        run=recipe.run,
        on=on,
        workers=workers,
    )
    return out


def _facts(corpus: Corpus, recipe: PretrainRecipe, seed: int) -> dict[str, Any]:
    """What a run folder belongs to."""
    return run_facts(
        recipe,
        dataset=corpus.name,
        dataset_hash=corpus.digest,
        method=recipe.objective.kind,
        seed=seed,
    )


def _pretrain(
    root: Path,
    recipe: PretrainRecipe,
    out: Path,
    world: World,
    *,
    seed: int,
    stop_at: int | None,
    tell: Callable[[str], None] | None = None,
) -> None:
    """What each of the processes that train together does."""
    corpus = open_corpus(root, recipe)
    if world.leads and tell is not None:
        _say(corpus, tell)
    facts = _facts(corpus, recipe, seed)
    claim(out, facts, write=world.leads)
    if (out / FACTS).exists():
        return
    if world.leads and corpus.rejected:
        lines = [json.dumps(asdict(reject), ensure_ascii=False) for reject in corpus.rejected]
        write_atomic(out / REJECTS, "".join(f"{line}\n" for line in lines).encode())
    store, data = corpus.store, recipe.data
    texts = (text for phrasings in store.instructions for text in phrasings)
    words = learn_tokenizer(
        texts if _reads(recipe) else (), max_words=data.max_words, max_tokens=data.max_tokens
    )
    drawn = _drawn(store, recipe)
    sampler = Sampler(
        table=store,
        tokenizer=words,
        config=settle_lanes(out, data, world),
        seed=seed,
        drawn=drawn,
        share=Share(rank=world.rank, world=world.size),
        width=widest(words, store.instructions) if recipe.run.compile and _reads(recipe) else 0,
    )
    with seeded(seed):
        model, objective = _make(recipe, words, store, world)
    done = train(
        model,
        objective=objective,
        batch_at=sampler.batch_at,
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
        "dataset_licences": corpus.licences,
        "drawn": int(drawn.sum()),
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "rejected": len(corpus.rejected),
        "samples": len(store),
    }
    if world.leads:
        write_facts(out, facts)
        save_encoder(
            out,
            model.encoder,
            config=recipe.encoder,
            size_hw=data.size_hw,
            method=recipe.objective.kind,
            datasets={corpus.name: corpus.licences},
            recipe=facts["recipe"],
        )
    world.meet()


def _make(
    recipe: PretrainRecipe, words: Tokenizer, store: Store, world: World
) -> tuple[Any, nn.Module]:
    """A model that has an `encoder`, and its objective."""
    masking, objective = make_masking(recipe.masking), recipe.objective
    if objective.kind == "mim":
        model = Autoencoder(
            recipe.encoder, config=objective, expects_losses=recipe.masking.expects_losses
        )
        return model, Mim(objective, masking=masking)
    dual = Dual(
        recipe.encoder, config=objective, vocabulary=words.size, max_tokens=words.max_tokens
    )
    image_of = torch.tensor(first_of_each(store.shas))
    return dual, Cfm(
        objective,
        masking=masking,
        world=world,
        image_of=image_of,
        accumulate=recipe.optim.accumulate,
    )


def _drawn(store: Store, recipe: PretrainRecipe) -> Tensor:
    """bool n: the samples that batches are made of; one of each photograph where no sample's own text counts."""
    drawn = in_fraction(store.shas, recipe.data.fraction)
    if not _reads(recipe) or _of_photographs(recipe):
        first = torch.tensor(first_of_each(store.shas))
        drawn &= first == torch.arange(len(first))
    return drawn


def _reads(recipe: PretrainRecipe) -> bool:
    """Whether texts are learnt from."""
    return recipe.objective.kind == "cfm"


def _of_photographs(recipe: PretrainRecipe) -> bool:
    """Whether the texts learnt from are those of photographs."""
    return recipe.objective.kind == "cfm" and recipe.objective.texts == "photograph"


def _say(corpus: Corpus, tell: Callable[[str], None]) -> None:
    for line in corpus.lines:
        tell(line)
