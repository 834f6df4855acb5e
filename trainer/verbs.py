"""The verbs of the command line that judge, train and compare; `maskmix.py` hangs them up."""

import os
from pathlib import Path
from typing import Annotated

import typer

from pipeline.options import (
    JsonOption,
    OutOption,
    Place,
    SeedOption,
    SetOption,
    say_facts,
    say_json,
)
from trainer.named_dataset import TrainArgument, local_dataset

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
        local_dataset(dataset),
        load(recipe, override or []),
        out=out,
        seed=seed or 0,
        workers=workers,
        on=on.value,
    )
    short = {key: value for key, value in facts.items() if not isinstance(value, dict | list)}
    if os.environ.get("RANK", "0") == "0":
        say_facts(short, as_json)


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
        local_dataset(dataset),
        load(recipe, override or []),
        out=out,
        seed=seed or 0,
        on=on.value,
        workers=workers,
    )
    if os.environ.get("RANK", "0") == "0":
        typer.echo(f"trained {run}; next: maskmix evaluate {run} HELD_OUT")


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
        local_dataset(data), load(recipe, override or []), out=out, seed=seed or 0, on=on.value,
        workers=workers, tell=lambda line: typer.echo(line, err=True),
    )  # fmt: skip
    if os.environ.get("RANK", "0") == "0":
        told = f"--set 'model={{kind: vit, pretrained: {run}}}'"
        typer.echo(f"pre-trained {run}; next: maskmix fit DIR {told} --out FIT")


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
        local_dataset(train),
        local_dataset(test),
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
        local_dataset(train),
        local_dataset(test),
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


def _check_ranks(on: Place, workers: int | None) -> None:
    if workers is not None and on is not Place.ray:
        raise ValueError("--workers is for --on ray; here, torchrun starts several processes")


VERBS = (discriminate, fit, pretrain, compare, study, loop)
"""In the order in which help lists them."""
