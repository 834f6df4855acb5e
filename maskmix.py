"""The front door: one command, its verbs loaded on use. `maskmix --help`, or `python -m maskmix`.

Every verb prints what a person wants to read; with `--json` its last line on standard output is one JSON object.
Errors that a user can mend are one line and exit code 2; everything else is a traceback.
"""

import json
import os
import re
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    help="Instruction-relevant masks you can trust: annotate, judge, train, use.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


class ExecutorName(StrEnum):
    """Where units run."""

    local = "local"
    ray = "ray"


class EffectName(StrEnum):
    """How a mask is shown."""

    overlay = "overlay"
    grayscale = "grayscale"
    blur = "blur"


RecipeOption = Annotated[
    str, typer.Option("--recipe", "-r", help="A shipped recipe or a .yaml file.")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="Override one key: a.b=c. Repeatable.")
]
OutOption = Annotated[Path, typer.Option("--out", "-o", help="Where to write.")]
LimitOption = Annotated[int | None, typer.Option(help="Only the first N inputs.")]
SeedOption = Annotated[int | None, typer.Option(help="Overrides the recipe's seed.")]
WorkersOption = Annotated[
    int, typer.Option(min=1, help="Processes side by side; the numbers do not depend on it.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON line for programs.")]
DatasetArgument = Annotated[Path, typer.Argument(help="A dataset folder.")]
TrainArgument = Annotated[str, typer.Argument(help="A dataset folder, or org/name on the hub.")]
TrainRecipeOption = Annotated[
    str, typer.Option("--recipe", "-r", help="A shipped training recipe or a .yaml file.")
]


@app.command()
def plan(
    recipe: RecipeOption = "lite",
    override: SetOption = None,
    out: OutOption = Path("out"),
    limit: LimitOption = None,
    seed: SeedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a build would do: the resolved recipe, its stages, inputs, units. Writes nothing."""
    import yaml

    from pipeline.build import plan as plan_build

    facts = plan_build(_job(recipe, override, out, limit, seed))
    if as_json:
        _say_json(facts)
        return
    typer.echo(yaml.safe_dump(facts["recipe"], sort_keys=False).rstrip())
    typer.echo(f"# {' -> '.join(facts['line'])} -> shard")
    typer.echo(
        f"# {facts['inputs']} inputs in {facts['units']} units, {facts['units_done']} done in {out}"
    )


@app.command()
def build(
    recipe: RecipeOption = "lite",
    override: SetOption = None,
    out: OutOption = Path("out"),
    limit: LimitOption = None,
    seed: SeedOption = None,
    executor: Annotated[ExecutorName, typer.Option(help="Where units run.")] = ExecutorName.ray,
    workers: Annotated[int | None, typer.Option(min=1, help="Ray workers; default: CPUs.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Same as `plan`.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Annotate: source -> experts -> judged labels -> shards. Run it again to resume."""
    if dry_run:
        plan(recipe, override, out, limit, seed, as_json)
        return
    from pipeline.build import build as build_dataset
    from pipeline.card import write_card
    from pipeline.progress import build_progress, conservation_table

    job = _job(recipe, override, out, limit, seed)
    with build_progress() as progress:
        manifest = build_dataset(
            job, _executor(executor, workers), on_start=progress.start, on_receipt=progress.add
        )
    write_card(job.root)
    if as_json:
        _say_json({"out": str(out), "shards": len(manifest.shards), **manifest.totals.model_dump()})
        return
    typer.echo(conservation_table(manifest.totals))
    typer.echo(f"{len(manifest.shards)} shards in {out}; next: maskmix report {out}")


@app.command()
def verify(dataset: DatasetArgument, as_json: JsonOption = False) -> None:
    """Prove a dataset whole: hashes, counts, schema, and that every image and mask decodes."""
    from pipeline.validate import verify as verify_dataset

    found = verify_dataset(dataset)
    if as_json:
        _say_json(
            {
                "dataset": str(dataset),
                "samples": found.samples,
                "problems": [str(problem) for problem in found.problems],
            }
        )
    else:
        for problem in found.problems:
            typer.echo(problem)
        typer.echo(f"{dataset}: {found.samples} samples, {len(found.problems)} problems")
    if found.problems:
        raise typer.Exit(1)


@app.command()
def experts(as_json: JsonOption = False) -> None:
    """List the experts that a recipe may use: built in, and those of installed packages."""
    from annotators.registry import describe_experts

    rows = describe_experts()
    if as_json:
        _say_json({"experts": rows})
        return
    for row in rows:
        typer.echo(f"{row['name']:<16} {row['roles']:<24} {row['about']}")


@app.command()
def card(dataset: DatasetArgument) -> None:
    """Write the dataset card (README.md) from the manifest."""
    from pipeline.card import write_card

    typer.echo(f"wrote {write_card(dataset)}")


@app.command()
def report(
    dataset: DatasetArgument,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Default: in the dataset.")
    ] = None,
    run: Annotated[
        list[Path] | None, typer.Option(help="A run folder to show. Repeatable.")
    ] = None,
    comparison: Annotated[
        Path | None, typer.Option("--compare", help="A comparison's folder or compare.json.")
    ] = None,
    test: Annotated[
        list[Path] | None, typer.Option(help="A dataset the runs were evaluated on. Repeatable.")
    ] = None,
) -> None:
    """Write one self-contained HTML page about a dataset, its runs and a comparison."""
    from pipeline.report.page import write_report

    if comparison is not None and comparison.is_dir():
        comparison = comparison / "compare.json"
    page = write_report(dataset, out, runs=run or [], compare=comparison, tests=test or [])
    typer.echo(f"wrote {page}")


@app.command()
def push(
    dataset: DatasetArgument,
    repo: Annotated[str, typer.Argument(help="org/name on the hub.")],
    public: Annotated[bool, typer.Option("--public", help="Default: a private repo.")] = False,
) -> None:
    """Verify a dataset and publish it on the Hugging Face hub in one commit."""
    from pipeline.hub import push as push_dataset

    typer.echo(push_dataset(dataset, repo, private=not public))


@app.command()
def pull(
    repo: Annotated[str, typer.Argument(help="org/name on the hub.")],
    out: OutOption,
    revision: Annotated[str | None, typer.Option(help="A commit, branch or tag.")] = None,
) -> None:
    """Fetch a dataset from the hub and verify it."""
    from pipeline.hub import pull as pull_dataset

    typer.echo(f"pulled {repo} into {pull_dataset(repo, out, revision=revision)}")


@app.command()
def discriminate(
    dataset: TrainArgument,
    recipe: TrainRecipeOption = "tiny",
    override: SetOption = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Keep logs here.")] = None,
    seed: SeedOption = None,
    workers: WorkersOption = 1,
    as_json: JsonOption = False,
) -> None:
    """Judge every machine label out of sample; writes the dataset's weights sidecar."""
    from trainer.config import load
    from trainer.discriminate import discriminate as judge

    facts = judge(
        _local(dataset), load(recipe, override or []), out=out, seed=seed or 0, workers=workers
    )
    short = {key: value for key, value in facts.items() if not isinstance(value, dict | list)}
    _say(short, as_json)


@app.command()
def fit(
    dataset: TrainArgument,
    out: OutOption,
    recipe: TrainRecipeOption = "tiny",
    override: SetOption = None,
    seed: SeedOption = None,
) -> None:
    """Train a segmenter on annotated shards. Run it again to resume."""
    from trainer.config import load
    from trainer.fit import fit as train

    run = train(_local(dataset), load(recipe, override or []), out=out, seed=seed or 0)
    typer.echo(f"trained {run}; next: maskmix evaluate {run} HELD_OUT")


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    dataset: TrainArgument,
    as_json: JsonOption = False,
) -> None:
    """Measure a model on a dataset with gold: gIoU, cIoU, P@t, by style and source."""
    from trainer.evaluate import evaluate as measure

    facts = measure(run, _local(dataset))
    _say(facts["overall"] | {"dataset": facts["dataset"]}, as_json)


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    image: Annotated[Path, typer.Argument(help="A photograph.")],
    instruction: Annotated[str, typer.Argument(help="What to look for.")],
    out: OutOption = Path("prediction.png"),
    effect: Annotated[EffectName, typer.Option(help="How to show it.")] = EffectName.overlay,
    crop: Annotated[bool, typer.Option("--crop", help="Cut to what is visible.")] = False,
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Of the probability.")] = 0.5,
) -> None:
    """Mask a photograph by an instruction and save it as the model downstream would see it."""
    from trainer.predictor import Predictor
    from trainer.show import predict_file

    shown = predict_file(
        Predictor.from_folder(run),
        image,
        instruction,
        out,
        effect=effect.value,
        crop=crop,
        threshold=threshold,
    )
    note = "; nothing was above the threshold, so all is shown" if shown.failed_open else ""
    typer.echo(f"wrote {out}{note}")


@app.command()
def compare(
    train: TrainArgument,
    test: TrainArgument,
    out: OutOption,
    recipe: TrainRecipeOption = "tiny",
    override: SetOption = None,
    method: Annotated[
        list[str] | None, typer.Option(help="Repeatable; default: the usual ones.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds 0 to N-1.")] = 3,
    workers: WorkersOption = 1,
    as_json: JsonOption = False,
) -> None:
    """Train and evaluate every weighting method; print the table. Run it again to resume."""
    from trainer.compare import DEFAULT_METHODS, table_text
    from trainer.compare import compare as compare_methods
    from trainer.config import load

    result = compare_methods(
        _local(train),
        _local(test),
        load(recipe, override or []),
        out=out,
        methods=method or DEFAULT_METHODS,
        seeds=range(seeds),
        workers=workers,
        tell=lambda line: typer.echo(line, err=True),
    )
    if as_json:
        _say_json(result)
    else:
        typer.echo(table_text(result))


@app.command()
def demo(
    out: OutOption = Path("demo"),
    quick: Annotated[bool, typer.Option("--quick", help="A tenth of it, to see it run.")] = False,
) -> None:
    """The whole line, small: annotate, judge, train, compare, report. Prints what it runs."""
    from trainer.demo import run_demo

    run_demo(out, quick=quick, tell=lambda line: print(line, flush=True))


def main() -> None:
    """Run the command line."""
    try:
        app(prog_name="maskmix")
    except (ValueError, OSError) as error:
        sys.exit(complain(error))


def complain(error: Exception) -> int:
    """Say one line on standard error; the exit code for what a user can mend."""
    print(f"error: {error}", file=sys.stderr)
    return 2


def _job(
    recipe: str, override: list[str] | None, out: Path, limit: int | None, seed: int | None
) -> Any:
    from pipeline.config import load_recipe
    from pipeline.work import Job, resolve

    raw = load_recipe(recipe, override or [])
    raw |= {key: value for key, value in (("limit", limit), ("seed", seed)) if value is not None}
    return Job(recipe=resolve(raw), root=out.absolute(), base=Path.cwd())


def _local(dataset: str) -> Path:
    """A dataset folder as it is; a hub id pulled, once, into the cache folder."""
    folder = Path(dataset)
    if folder.is_dir() or not re.fullmatch(r"[\w.-]+/[\w.-]+", dataset):
        return folder
    from pipeline.hub import pull as pull_dataset

    home = Path(os.environ.get("MASKMIX_HOME", Path.home() / ".cache" / "maskmix"))
    kept = home / "datasets" / dataset.replace("/", "--")
    if not (kept / "manifest.json").exists():
        typer.echo(f"pulling {dataset} into {kept}", err=True)
        pull_dataset(dataset, kept)
    return kept


def _executor(name: ExecutorName, workers: int | None) -> Any:
    if name is ExecutorName.local:
        if workers is not None:
            raise ValueError("--workers is for --executor ray; local runs in this one process")
        from pipeline.executors.local import run_local

        return run_local
    from functools import partial

    from pipeline.executors.ray import run_on_ray

    return partial(run_on_ray, workers=workers)


def _say(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        _say_json(facts)
        return
    for key, value in facts.items():
        typer.echo(f"{key:<24} {value:.4f}" if isinstance(value, float) else f"{key:<24} {value}")


def _say_json(facts: dict[str, Any]) -> None:
    typer.echo(json.dumps(facts, sort_keys=True, ensure_ascii=False))


if __name__ == "__main__":
    main()
