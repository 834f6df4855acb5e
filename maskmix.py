"""The front door: one command, its verbs loaded on use. `maskmix --help`, or `python -m maskmix`.

Every verb prints what a person wants to read; with `--json` its last line on standard output is one JSON object.
Errors that a user can mend are one line and exit code 2; a build that stopped cleanly is one line and exit code 3, and
the same command goes on with it, as does a training that a signal stopped (143 for SIGTERM, 130 for SIGINT);
everything else is a traceback.
"""

import os
import re
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from annotators.halt import Halt
from pipeline import expert_verbs
from pipeline.verbs import VERBS, JsonOption, OutOption, SeedOption, SetOption, say_json
from trainer.engine.stop import Interrupted
from trainer.use import verbs as use_verbs
from trainer.use.verbs import EffectName

STOPPED = 3
"""Exit code of a command that stopped cleanly before its end: run it again."""

app = typer.Typer(
    help="Instruction-relevant masks you can trust: annotate, judge, train, use.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


class Place(StrEnum):
    """Who starts the processes that train."""

    here = "here"
    ray = "ray"


TrainArgument = Annotated[str, typer.Argument(help="A dataset folder, or org/name on the hub.")]
TrainRecipeOption = Annotated[
    str, typer.Option("--recipe", "-r", help="A shipped training recipe or a .yaml file.")
]
WorkersOption = Annotated[
    int, typer.Option(min=1, help="Processes side by side; the numbers do not depend on it.")
]
OnOption = Annotated[
    Place, typer.Option(help="This process (or torchrun's), or processes of a Ray cluster.")
]
RanksOption = Annotated[
    int | None, typer.Option(min=1, help="With --on ray: processes; default: one a GPU.")
]


for verb in (*VERBS, *use_verbs.VERBS):
    app.command()(verb)


app.add_typer(expert_verbs.app, name="experts")


@app.command()
def discriminate(
    dataset: TrainArgument,
    recipe: TrainRecipeOption = "tiny",
    override: SetOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Keep logs and discriminators here.")
    ] = None,
    seed: SeedOption = None,
    on: OnOption = Place.here,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Discriminators side by side; on Ray, processes for each."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Judge every machine label out of sample; writes the dataset's weights sidecar."""
    from trainer.config import load
    from trainer.discriminate import discriminate as judge

    facts = judge(
        _local(dataset),
        load(recipe, override or []),
        out=out,
        seed=seed or 0,
        workers=workers,
        on=on.value,
    )
    short = {key: value for key, value in facts.items() if not isinstance(value, dict | list)}
    if os.environ.get("RANK", "0") == "0":
        _say(short, as_json)


@app.command()
def fit(
    dataset: TrainArgument,
    out: OutOption,
    recipe: TrainRecipeOption = "tiny",
    override: SetOption = None,
    seed: SeedOption = None,
    on: OnOption = Place.here,
    workers: RanksOption = None,
) -> None:
    """Train a segmenter on annotated shards. Run it again to resume; torchrun starts several."""
    from trainer.config import load
    from trainer.fit import fit as train

    _check_ranks(on, workers)
    run = train(
        _local(dataset),
        load(recipe, override or []),
        out=out,
        seed=seed or 0,
        on=on.value,
        workers=workers,
    )
    if os.environ.get("RANK", "0") == "0":
        typer.echo(f"trained {run}; next: maskmix evaluate {run} HELD_OUT")


@app.command()
def pretrain(
    data: Annotated[
        str, typer.Argument(help="A dataset folder or org/name, or a folder of pictures.")
    ],
    out: OutOption,
    recipe: Annotated[
        str, typer.Option("--recipe", "-r", help="mim, cfm or a .yaml file.")
    ] = "mim",
    override: SetOption = None,
    seed: SeedOption = None,
    on: OnOption = Place.here,
    workers: RanksOption = None,
) -> None:
    """Train an image encoder without labels, for fit and discriminate. Run it again to resume."""
    from trainer.pretrain import pretrain as train
    from trainer.pretrain_config import load

    _check_ranks(on, workers)
    run = train(
        _local(data), load(recipe, override or []), out=out, seed=seed or 0, on=on.value,
        workers=workers, tell=lambda line: typer.echo(line, err=True),
    )  # fmt: skip
    if os.environ.get("RANK", "0") == "0":
        told = f"--set 'model={{kind: vit, pretrained: {run}}}'"
        typer.echo(f"pre-trained {run}; next: maskmix fit DIR {told} --out FIT")


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    dataset: TrainArgument,
    protocol: Annotated[
        str,
        typer.Option(
            help="refcoco, refcoco-strict or grefcoco: every sentence, by split, as papers do."
        ),
    ] = "",
    evidence: Annotated[
        str,
        typer.Option(help="Also ask this CLIP or SigLIP what the masks leave out: hub id, folder."),
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Measure a model on a dataset with gold: gIoU, cIoU, P@t, by style and source."""
    if protocol and evidence:
        raise ValueError("--evidence goes with the plain evaluation, not with --protocol")
    if protocol:
        from trainer.measure.refcoco import check_protocol, table_text
        from trainer.measure.refcoco_run import evaluate_refcoco

        chosen = check_protocol(protocol)
        found = evaluate_refcoco(run, _local(dataset), protocol=chosen)
        if as_json:
            say_json(found)
        else:
            typer.echo(table_text(found["rows"], chosen))
        return
    from trainer.measure.evaluate import evaluate as measure
    from trainer.measure.evidence import evidence_lines, image_text_witness

    witness = image_text_witness(evidence) if evidence else None
    facts = measure(run, _local(dataset), witness=witness)
    short = facts["overall"] | {"dataset": facts["dataset"]}
    if as_json and witness is not None:
        short["evidence"] = facts["evidence"]
    _say(short, as_json)
    if witness is not None and not as_json:
        typer.echo("\n".join(evidence_lines(facts["evidence"])))


@app.command("vqa-bench")
def vqa_bench(
    files: Annotated[list[Path], typer.Argument(help="Of the published format.")],
    format: Annotated[str, typer.Option(help="vstar, pope or egothink.")],
    out: OutOption,
    endpoint: Annotated[str, typer.Option(help="OpenAI-compatible address.")] = "",
    model: Annotated[str, typer.Option(help="The model's name there.")] = "",
    masker: Annotated[str, typer.Option(help="A run folder, or org/name on the hub.")] = "",
    effect: Annotated[EffectName, typer.Option(help="How masks are shown.")] = EffectName.overlay,
    crop: Annotated[bool, typer.Option(help="Cut to what is visible.")] = True,
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Of the probability.")] = 0.5,
    images: Annotated[Path | None, typer.Option(help="Their folder, if elsewhere.")] = None,
    judge: Annotated[str, typer.Option(help="Address of the judge (egothink).")] = "",
    judge_model: Annotated[str, typer.Option(help="The judge's name there.")] = "",
    judge_prompts: Annotated[Path | None, typer.Option(help="EgoThink's own file.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Open questions at a time.")] = 8,
    image_side: Annotated[int, typer.Option(min=1, help="Longest side sent, px.")] = 2048,
    calls: Annotated[int | None, typer.Option(min=1, help="Stop before more calls.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N questions.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Ask a vision-language model with and without masking; print the table. Run it again to resume."""
    from trainer.vqa.bench import check_format, run_bench
    from trainer.vqa.setup import SPENDING, open_endpoint, open_judge, open_masking

    kind, spending = check_format(format), out / SPENDING
    asker = open_endpoint(
        "vqa", url=endpoint, model=model, concurrency=concurrency, image_side=image_side,
        spending=spending, most_calls=calls,
    )  # fmt: skip
    masking, name = None, ""
    if masker:
        masking, name = open_masking(masker, effect=effect.value, threshold=threshold, crop=crop)
    judging = None
    if kind == "egothink":
        judging = open_judge(url=judge, model=judge_model, prompts=judge_prompts, spending=spending)
    results = run_bench(
        files, format=kind, asker=asker, out=out, masking=masking, masker=name, images=images,
        judge=judging, limit=limit, tell=lambda line: typer.echo(line, err=True),
    )  # fmt: skip
    if as_json:
        say_json(results)
        return
    typer.echo(results["table"], nl=False)
    for failure in results["failures"]:
        typer.echo(f"failed: {failure['key']}: {failure['why']}", err=True)


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
        say_json(result)
    else:
        typer.echo(table_text(result))


@app.command()
def study(
    file: Annotated[str, typer.Argument(help="A shipped study or a .yaml file.")],
    out: OutOption,
    data: Annotated[
        Path | None, typer.Option(help="The folder that {data} stands for in the study.")
    ] = None,
    override: SetOption = None,
    workers: WorkersOption = 1,
    as_json: JsonOption = False,
) -> None:
    """Compare weightings, maskings or pre-trainings over data sets and seeds. Run it again to resume."""
    from trainer.study_file import load, run

    facts = run(
        load(file, override or []),
        out=out,
        data=data,
        workers=workers,
        tell=lambda line: typer.echo(line, err=True),
    )
    if as_json:
        say_json(facts)
    else:
        typer.echo((out / "study.txt").read_text())


@app.command()
def loop(
    train: TrainArgument,
    test: TrainArgument,
    out: OutOption,
    recipe: TrainRecipeOption = "tiny",
    override: SetOption = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often to annotate again.")] = 1,
    seed: SeedOption = None,
    workers: WorkersOption = 1,
    as_json: JsonOption = False,
) -> None:
    """Train, annotate again with what was learnt, score, train; print the gain per round. Run it again to resume."""
    from trainer.config import load
    from trainer.rounds.run import run_loop
    from trainer.rounds.table import table_text

    result = run_loop(
        _local(train),
        _local(test),
        load(recipe, override or []),
        out=out,
        rounds=rounds,
        seed=seed or 0,
        workers=workers,
        tell=lambda line: typer.echo(line, err=True),
    )
    if as_json:
        say_json(result)
    else:
        typer.echo(table_text(result), nl=False)


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
    except Halt as halt:
        print(f"stopped: {halt}", file=sys.stderr)
        sys.exit(STOPPED)
    except Interrupted as stop:
        print(f"stopped: {stop}", file=sys.stderr)
        sys.exit(stop.exit_code)


def complain(error: Exception) -> int:
    """Say one line on standard error; the exit code for what a user can mend."""
    print(f"error: {error}", file=sys.stderr)
    return 2


def _check_ranks(on: Place, workers: int | None) -> None:
    if workers is not None and on is not Place.ray:
        raise ValueError("--workers is for --on ray; here, torchrun starts several processes")


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


def _say(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        say_json(facts)
        return
    for key, value in facts.items():
        typer.echo(f"{key:<24} {value:.4f}" if isinstance(value, float) else f"{key:<24} {value}")


if __name__ == "__main__":
    main()
