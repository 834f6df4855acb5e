"""The verbs of the command line that make, prove and show datasets; `maskmix.py` hangs them up."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.options import JsonOption, OutOption, SeedOption, SetOption, say_json


class ExecutorName(StrEnum):
    """Where units run."""

    local = "local"
    ray = "ray"


RecipeOption = Annotated[
    str, typer.Option("--recipe", "-r", help="A shipped recipe or a .yaml file.")
]
LimitOption = Annotated[int | None, typer.Option(help="Only the first N inputs.")]
DatasetArgument = Annotated[Path, typer.Argument(help="A dataset folder.")]


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
        say_json(facts)
        return
    typer.echo(yaml.safe_dump(facts["recipe"], sort_keys=False).rstrip())
    typer.echo(f"# {' -> '.join(facts['line'])} -> shard")
    typer.echo(
        f"# {facts['inputs']} inputs in {facts['units']} units, {facts['units_done']} done in {out}"
    )
    for seat in facts["panel"]:
        typer.echo(f"# {seat['stage']}: {seat['expert']}{_who(seat)}")


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
    """Annotate: source -> experts -> judged labels -> shards. Run it again to resume.

    Exit code 3: it stopped cleanly (say, a budget is spent); what is committed stays.
    """
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
        say_json({"out": str(out), "shards": len(manifest.shards), **manifest.totals.model_dump()})
        return
    typer.echo(conservation_table(manifest.totals))
    typer.echo(f"{len(manifest.shards)} shards in {out}; next: maskmix report {out}")


def verify(dataset: DatasetArgument, as_json: JsonOption = False) -> None:
    """Prove a dataset whole: hashes, counts, schema, and that every image and mask decodes."""
    from pipeline.validate import verify as verify_dataset

    found = verify_dataset(dataset)
    if as_json:
        say_json(
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


def calibrate(dataset: DatasetArgument, as_json: JsonOption = False) -> None:
    """Learn how far each expert can be trusted and what the score is worth; writes sidecars for the next build."""
    from pipeline.calibrate import calibrate as calibrate_dataset
    from pipeline.calibrate import calibration_lines, reliability_lines

    found = calibrate_dataset(dataset)
    if as_json:
        say_json({"dataset": str(dataset), **found})
        return
    for line in (*reliability_lines(found["reliability"]), ""):
        typer.echo(line)
    if found["calibration"] is None:
        typer.echo(f"score not calibrated: {found['why']}")
    else:
        for line in calibration_lines(found["calibration"]):
            typer.echo(line)
    typer.echo(f"sidecars in {dataset}; next: maskmix build --recipe relabel (see its head)")


def card(dataset: DatasetArgument) -> None:
    """Write the dataset card (README.md) from the manifest."""
    from pipeline.card import write_card

    typer.echo(f"wrote {write_card(dataset)}")


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
    study: Annotated[
        Path | None, typer.Option(help="A study's folder or study.json, to be drawn.")
    ] = None,
    test: Annotated[
        list[Path] | None, typer.Option(help="A dataset the runs were evaluated on. Repeatable.")
    ] = None,
    vqa: Annotated[
        list[Path] | None, typer.Option(help="A folder of vqa-bench to set beside. Repeatable.")
    ] = None,
) -> None:
    """Write one self-contained HTML page about a dataset, its runs, a comparison and a study."""
    from pipeline.report.page import write_report

    if comparison is not None and comparison.is_dir():
        comparison = comparison / "compare.json"
    if study is not None and study.is_dir():
        study = study / "study.json"
    page = write_report(
        dataset,
        out,
        runs=run or [],
        compare=comparison,
        tests=test or [],
        study=study,
        vqa=vqa or [],
    )
    typer.echo(f"wrote {page}")


def _who(seat: dict[str, Any]) -> str:
    """What a panel's entry says beyond its expert's name."""
    if "problem" in seat:
        return f" (not ready: {seat['problem']})"
    if not seat["model"]:
        return ""
    at = f" @ {seat['revision']}" if seat["revision"] else ""
    licence = f", licence {seat['licence']}" if seat["licence"] else ""
    return f", {seat['model']}{at}{licence}"


def _job(
    recipe: str, override: list[str] | None, out: Path, limit: int | None, seed: int | None
) -> Any:
    from pipeline.config import load_recipe
    from pipeline.line import Job, resolve

    raw = load_recipe(recipe, override or [])
    raw |= {key: value for key, value in (("limit", limit), ("seed", seed)) if value is not None}
    return Job(recipe=resolve(raw), root=out.absolute(), base=Path.cwd())


def _executor(name: ExecutorName, workers: int | None) -> Any:
    if name is ExecutorName.local:
        if workers is not None:
            raise ValueError("--workers is for --executor ray; local runs in this one process")
        from pipeline.executors.local import run_local

        return run_local
    from functools import partial

    from pipeline.executors.ray import run_on_ray

    return partial(run_on_ray, workers=workers)


VERBS = (plan, build, verify, calibrate, card, report)
"""In the order in which help lists them."""
