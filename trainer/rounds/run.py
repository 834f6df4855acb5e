"""The data engine: a model joins the panel that made its labels, the labels are judged and learnt from again.

    round 0: the dataset as it is    -> score -> train -> measure
    round r: annotated by round r-1  -> score -> train -> measure

Every round annotates the first dataset anew, so no label is ever lost: its own label is the incumbent, what experts
said stays, and the model of the round before adds its mask. A discriminator of the round before chooses (stage
`choose`), and how much better it must find a mask is learnt from gold (trainer.rounds.margin).

No model confirms itself. What annotates an image, and what judges its masks, has not learnt from it: both are folds of
models over the folds of `maskmix discriminate` (trainer.use.folds). What remains is indirect: a label of round 1 is by
a model that learnt from labels of other images. Each round so trains one model for each fold and one of everything;
the latter is measured.

Building is the command line's; it is told before it runs, so that a user sees what there is to type. Every step leaves
a file and is not done twice: a loop that was stopped, or is asked for more rounds, goes on where it stands.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from annotators.halt import Halt
from annotators.protocols import Image
from pipeline.manifest import MANIFEST, read_manifest
from pipeline.reader import iterate_samples
from pipeline.shards import write_atomic
from pipeline.sidecar import read_sidecar
from trainer.config import TrainRecipe, recipe_hash
from trainer.data.table import decode_image
from trainer.discriminate import discriminate
from trainer.engine.side_by_side import run_side_by_side
from trainer.fit import fit
from trainer.measure.evaluate import dataset_name, evaluate
from trainer.rounds.margin import learn_margin
from trainer.rounds.table import label_facts, table_text
from trainer.use.folds import FOLDS, deal_pictures, write_folds

STOPPED = 3
"""Exit code of a build that stopped cleanly."""
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One round and where its things lie: `dataset`, `judges`, `annotators`, `run`, `margin.json`, `recipe.yaml`."""

    number: int
    folder: Path

    @property
    def dataset(self) -> Path:
        return self.folder / "dataset"

    @property
    def judges(self) -> Path:
        """Discriminators by fold."""
        return self.folder / "judges"

    @property
    def annotators(self) -> Path:
        """Models by fold."""
        return self.folder / "annotators"

    @property
    def run(self) -> Path:
        """The model of all folds."""
        return self.folder / "run"


def run_loop(
    train_root: Path,
    test_root: Path,
    recipe: TrainRecipe,
    *,
    out: Path,
    rounds: int,
    seed: int = 0,
    workers: int = 1,
    tell: Tell | None = None,
) -> dict[str, Any]:
    """Annotate `rounds` times with what was learnt; write `OUT/loop.json` and `OUT/loop.txt`.

    Args:
        train_root: dataset folder to begin with; it is copied (linked where the file system can) and not written to.
        test_root: dataset folder with gold to measure on.
        recipe: how to score and to train, the same in every round.
        out: folder of the loop, new or of the same loop.
        rounds: how often the dataset is annotated again; round 0 comes before.
        seed: of folds, parameters and batches, the same in every round.
        workers: trainings, and workers of a build, side by side.
        tell: called with a line of progress now and then.

    Returns:
        What loop.json holds: dataset, test, budget, and one row a round.

    Raises:
        ValueError: `out` is of another loop, `rounds` is less than one, or a step cannot be done.
        Halt: a build stopped cleanly; the same command goes on.
    """
    if rounds < 1:
        raise ValueError(f"{rounds} rounds; expected at least 1, besides round 0")
    say = tell or (lambda line: None)
    result: dict[str, Any] = {
        "dataset": dataset_name(train_root),
        "dataset_hash": read_manifest(train_root).recipe_hash,
        "test": dataset_name(test_root),
        "recipe_hash": recipe_hash(recipe),
        "seed": seed,
        "budget": {
            "steps": recipe.optim.steps,
            "batch": recipe.data.batch,
            "size_hw": list(recipe.data.size_hw),
            "recipe": recipe.name,
        },
    }
    out.mkdir(parents=True, exist_ok=True)
    _claim(out / "begun.json", result)
    steps = _Steps(test_root=test_root, recipe=recipe, seed=seed, workers=workers, tell=say)
    rows: list[dict[str, Any]] = []
    first = Round(number=0, folder=out / "round-0")
    before: Round | None = None
    for number in range(rounds + 1):
        this = Round(number=number, folder=out / f"round-{number}")
        this.folder.mkdir(exist_ok=True)
        if before is None:
            keep_copy(train_root, this.dataset)
        else:
            steps.annotate(this, first, before)
        steps.judge(this)
        steps.train(this, annotators=number < rounds)
        rows.append(steps.measure(this))
        say(f"round {number}: gIoU {rows[-1]['giou']:.3f}")
        before = this
    result["rows"] = _with_gains(rows)
    _write(out / "loop.json", result)
    write_atomic(out / "loop.txt", table_text(result).encode())
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class _Steps:
    """The steps of a round, each of which finds itself done."""

    test_root: Path
    recipe: TrainRecipe
    seed: int
    workers: int
    tell: Tell

    def annotate(self, this: Round, first: Round, before: Round) -> None:
        """Build the dataset of a round from the first one and what the round before has learnt."""
        if (this.dataset / MANIFEST).exists():
            return
        margin = this.folder / "margin.json"
        annotators, judges = str(before.annotators), str(before.judges)
        if not margin.exists():
            self.tell(f"round {this.number}: learning from gold when a label is to be replaced")
            _write(margin, learn_margin(first.dataset, annotators=annotators, judges=judges))
        told = json.loads(margin.read_bytes())["margin"]
        raw = build_recipe(first.dataset, annotators=annotators, judges=judges, margin=told)
        written = this.folder / "recipe.yaml"
        write_atomic(written, yaml.safe_dump(raw, sort_keys=False).encode())
        where = ["--workers", str(self.workers)] if self.workers > 1 else ["--executor", "local"]
        words = ["build", "--recipe", str(written), *where, "--out", str(this.dataset)]
        self.tell(f"$ {shlex.join(['maskmix', *words])}")
        done = subprocess.run([sys.executable, "-m", "maskmix", *words], stdout=2)
        if done.returncode == STOPPED:
            raise Halt(f"the build of round {this.number} stopped; the same command goes on")
        if done.returncode:
            raise ValueError(
                f"the build of round {this.number} failed; its message stands above, its recipe is {written}"
            )

    def judge(self, this: Round) -> None:
        """Score every label out of sample and keep the discriminators."""
        if (this.judges / FOLDS).exists():
            return
        self.tell(f"round {this.number}: scoring every label out of sample")
        discriminate(
            this.dataset, self.recipe, out=this.judges, seed=self.seed, workers=self.workers
        )
        pictures = deal_pictures(pictures_of(this.dataset))
        write_folds(this.judges, pictures, folds=self.recipe.discriminate.folds)

    def train(self, this: Round, *, annotators: bool) -> None:
        """Train the model that is measured and, for the next round, one without each fold."""
        dealt = annotators and not (this.annotators / FOLDS).exists()
        folds = range(self.recipe.discriminate.folds) if dealt else range(0)
        jobs = [(this, self.recipe, self.seed, fold) for fold in (None, *folds)]
        if dealt:
            self.tell(f"round {this.number}: training {len(jobs)} models")
        for _ in run_side_by_side(fit_one, jobs, workers=min(self.workers, len(jobs))):
            pass
        if dealt:
            shutil.copyfile(this.judges / FOLDS, this.annotators / ".folds")
            os.replace(this.annotators / ".folds", this.annotators / FOLDS)

    def measure(self, this: Round) -> dict[str, Any]:
        """The row of a round."""
        kept = this.folder / "round.json"
        if not kept.exists():
            stored = this.run / "results" / f"{dataset_name(self.test_root)}.json"
            found = stored.exists()
            tested = (
                json.loads(stored.read_bytes()) if found else evaluate(this.run, self.test_root)
            )
            judged = json.loads((this.dataset / "sidecars" / "discriminator.json").read_bytes())
            margin = this.folder / "margin.json"
            learnt = json.loads(margin.read_bytes())["margin"] if margin.exists() else None
            row = {
                "round": this.number,
                "margin": learnt,
                **label_facts(this.dataset),
                "auc_good_vs_bad": judged["auc_good_vs_bad"],
                **{name: tested["overall"][name] for name in ("giou", "ciou", "p50")},
            }
            _write(kept, row)
        return json.loads(kept.read_bytes())


def build_recipe(first: Path, *, annotators: str, judges: str, margin: float) -> dict[str, Any]:
    """The pipeline recipe of a round: nobody of the old panel is asked again, and every sample is kept."""
    manifest = read_manifest(first)
    return {
        "name": manifest.name,
        "split": manifest.split,
        "unit_size": manifest.recipe["unit_size"],
        "image_format": manifest.recipe["image_format"],
        "source": {"kind": "shards", "path": str(first), "incumbent": True},
        "stages": {
            "join": {"experts": [{"use": "trained", "options": {"model": annotators}}]},
            "choose": {
                "judges": [{"use": "trained_judge", "options": {"model": judges}}],
                "margin": margin,
            },
            "score": {},
            "keep": {"empty": "keep"},
        },
    }


def fit_one(this: Round, recipe: TrainRecipe, seed: int, fold: int | None) -> None:
    """Train on a round's dataset: on all of it, or without a fold."""
    out = this.run if fold is None else this.annotators / f"fold-{fold}"
    fit(this.dataset, recipe, out=out, seed=seed, leave_out=fold)


def pictures_of(root: Path) -> Iterator[tuple[Image, int]]:
    """Every photograph of a scored dataset once, with its fold: RGB uint8 (h, w, 3)."""
    table = read_sidecar(root, "weights").select(["sample_id", "fold"]).to_pydict()
    fold_of = dict(zip(table["sample_id"], table["fold"], strict=True))
    seen: set[str] = set()
    for sample in iterate_samples(root):
        if sample.source.image_sha256 not in seen:
            seen.add(sample.source.image_sha256)
            yield np.asarray(decode_image(sample)), fold_of[sample.id]


def keep_copy(root: Path, there: Path) -> None:
    """A finished dataset without its sidecars, as hard links where the file system has them; whole or not there.

    Files of a dataset are written once, so a link is a copy.
    """
    if there.exists():
        return
    read_manifest(root)
    half = there.with_name(there.name + ".part")
    shutil.rmtree(half, ignore_errors=True)
    left_out = shutil.ignore_patterns("sidecars", "report.html", "*.tmp")
    shutil.copytree(root, half, copy_function=_link, ignore=left_out)
    os.replace(half, there)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)


def _with_gains(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each row with `gain`: its gIoU less that of the round before, null in round 0."""
    gains = [None, *(b["giou"] - a["giou"] for a, b in pairwise(rows))]
    return [
        {**row, "gain": None if gain is None else round(gain, 6)}
        for row, gain in zip(rows, gains, strict=True)
    ]


def _claim(path: Path, facts: Mapping[str, Any]) -> None:
    """An output folder belongs to one loop; the number of rounds may grow.

    Raises:
        ValueError: it is of another.
    """
    if not path.exists():
        _write(path, facts)
        return
    have = json.loads(path.read_bytes())
    if odd := [key for key, value in facts.items() if have.get(key) != value]:
        raise ValueError(
            f"{path.parent} holds another loop (other {', '.join(odd)}); choose another folder, or delete this one"
        )


def _write(path: Path, facts: Mapping[str, Any]) -> None:
    text = json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_atomic(path, text.encode() + b"\n")
