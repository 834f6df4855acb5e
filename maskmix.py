"""The front door: one command, its verbs loaded on use. `maskmix --help`, or `python -m maskmix`.

Every verb prints what a person wants to read; with `--json` its last line on standard output is one JSON object.
Errors that a user can mend are one line and exit code 2; everything else is a traceback.
"""

import json
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


RecipeOption = Annotated[
    str, typer.Option("--recipe", "-r", help="A shipped recipe or a .yaml file.")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="Override one key: a.b=c. Repeatable.")
]
OutOption = Annotated[Path, typer.Option("--out", "-o", help="Where to write.")]
LimitOption = Annotated[int | None, typer.Option(help="Only the first N inputs.")]
SeedOption = Annotated[int | None, typer.Option(help="Overrides the recipe's seed.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON line for programs.")]
DatasetArgument = Annotated[Path, typer.Argument(help="A dataset folder.")]


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
            {"dataset": str(dataset), "samples": found.samples, "problems": list(found.problems)}
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


def main() -> None:
    """Run the command line."""
    try:
        app()
    except (ValueError, OSError) as error:
        sys.exit(_complain(error))


def _complain(error: Exception) -> int:
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


def _executor(name: ExecutorName, workers: int | None) -> Any:
    if name is ExecutorName.local:
        from pipeline.executors.local import run_local

        return run_local
    from functools import partial

    from pipeline.executors.ray import run_on_ray

    return partial(run_on_ray, workers=workers)


def _say_json(facts: dict[str, Any]) -> None:
    typer.echo(json.dumps(facts, sort_keys=True, ensure_ascii=False))


if __name__ == "__main__":
    main()
