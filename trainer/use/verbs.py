"""The verbs of the command line that use what was learnt, and that publish; `maskmix.py` hangs them up."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipeline.options import JsonOption, Place, say_json


class EffectName(StrEnum):
    """How a mask is shown."""

    overlay = "overlay"
    grayscale = "grayscale"
    blur = "blur"


DatasetArgument = Annotated[Path, typer.Argument(help="A dataset folder that was judged.")]
SidecarOption = Annotated[str, typer.Option(help="Which weights sidecar.")]
RepoArgument = Annotated[str, typer.Argument(help="org/name on the hub.")]
RevisionOption = Annotated[str | None, typer.Option(help="On the hub: a commit, branch or tag.")]


def predict(
    model: Annotated[str, typer.Argument(help="A run folder, or org/name on the hub.")],
    source: Annotated[
        Path, typer.Argument(help="A photograph, a folder of them, or a dataset folder.")
    ],
    instruction: Annotated[str | None, typer.Argument(help="What to look for.")] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Default: prediction.png, or the folder predictions."),
    ] = None,
    asked: Annotated[
        str | None, typer.Option("--instruction", help="The same as the argument.")
    ] = None,
    instructions: Annotated[
        Path | None,
        typer.Option(help="For a folder: a .jsonl, .csv or .tsv of image, instruction."),
    ] = None,
    effect: Annotated[
        EffectName | None,
        typer.Option(help="How to show it. Default: overlay; masks, for a folder or a dataset."),
    ] = None,
    crop: Annotated[bool, typer.Option("--crop", help="Cut to what is visible.")] = False,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Of the probability. Default: the model's.")
    ] = None,
    revision: RevisionOption = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    on: Annotated[Place, typer.Option(help="Where units run.")] = Place.here,
    workers: Annotated[int | None, typer.Option(min=1, help="Ray workers; default: CPUs.")] = None,
    gpus: Annotated[float, typer.Option(min=0, help="On Ray: share of a GPU for a worker.")] = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Mask photographs by instructions: one, a folder, or a dataset. Run it again to resume.

    One photograph is saved as the model downstream would see it; of many, masks and an index are written.
    """
    if instruction is not None and asked is not None:
        raise ValueError("the instruction is given twice, as an argument and as --instruction")
    text = instruction if asked is None else asked
    if source.is_dir():
        from trainer.use.many import predict_many

        target = out or Path("predictions")
        totals = predict_many(
            model, source, out=target, instruction=text, instructions=instructions,
            effect=effect.value if effect else None, crop=crop, threshold=threshold,
            revision=revision, device=device, on=on.value, workers=workers, gpus=gpus,
            tell=lambda line: typer.echo(line, err=True),
        )  # fmt: skip
        if as_json:
            rejected = sum(totals.rejected.values())
            say_json({"out": str(target), "inputs": totals.inputs, "predicted": totals.predicted,
                       "rejected": rejected, "reasons": totals.rejected})  # fmt: skip
            return
        for line in totals.lines():
            typer.echo(line)
        typer.echo(f"predictions in {target}: predictions.parquet says which file is whose")
        return
    if text is None or instructions is not None or on is Place.ray or workers or gpus:
        raise ValueError(
            f"{source} is no folder; for one photograph give one instruction (and neither --instructions, nor --on ray)"
        )
    from trainer.use.predictor import Predictor
    from trainer.use.show import predict_file

    target = out or Path("prediction.png")
    predictor = Predictor.from_pretrained(model, revision=revision, device=device)
    shown = predict_file(
        predictor,
        source,
        text,
        target,
        effect=effect.value if effect else "overlay",
        crop=crop,
        threshold=predictor.model.threshold if threshold is None else threshold,
    )
    if as_json:
        say_json({"out": str(target), "failed_open": shown.failed_open, "box": list(shown.box)})
        return
    note = "; nothing was above the threshold, so all is shown" if shown.failed_open else ""
    typer.echo(f"wrote {target}{note}")


def reliability(
    dataset: DatasetArgument,
    sidecar: SidecarOption = "weights",
    method: Annotated[str, typer.Option(help="isotonic, platt or auto.")] = "auto",
    as_json: JsonOption = False,
) -> None:
    """Is p_clean a probability? Measure it on audit gold, recalibrate it on other gold; writes two sidecars."""
    from trainer.measure.reliability import reliability as measure
    from trainer.measure.reliability import reliability_lines

    facts = measure(dataset, sidecar=sidecar, method=method)
    if as_json:
        say_json({"dataset": str(dataset), **facts})
        return
    for line in reliability_lines(facts):
        typer.echo(line)


def missingness(
    dataset: DatasetArgument,
    judges: Annotated[
        Path, typer.Option(help="The folder that `maskmix discriminate --out` kept them in.")
    ],
    sidecar: SidecarOption = "weights",
    seed: Annotated[int, typer.Option(help="Of noise, exchanges and intervals.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    as_json: JsonOption = False,
) -> None:
    """Is p_clean a prior on shapes and colours? Judge labels again with the photograph or its surroundings away."""
    from trainer.measure.missingness import missingness as measure
    from trainer.measure.missingness import missingness_lines

    facts = measure(dataset, judges=judges, sidecar=sidecar, seed=seed, device=device)
    if as_json:
        say_json({"dataset": str(dataset), **facts})
        return
    for line in missingness_lines(facts):
        typer.echo(line)
    typer.echo(f"next: maskmix report {dataset}")


def threshold(
    dataset: DatasetArgument,
    precision: Annotated[
        float, typer.Option(help="Wanted share of right labels among those kept.")
    ],
    confidence: Annotated[float, typer.Option(help="Of the promise.")] = 0.95,
    sidecar: SidecarOption = "weights",
    as_json: JsonOption = False,
) -> None:
    """The smallest p_clean from which on labels are as good as wanted, promised from gold."""
    from dataclasses import asdict

    from trainer.measure.thresholds import threshold_for, threshold_lines

    found = threshold_for(dataset, precision=precision, confidence=confidence, sidecar=sidecar)
    if as_json:
        more = {"kept_share": found.kept_share, "true_precision": found.true_precision}
        say_json({"dataset": str(dataset), **asdict(found), **more})
        return
    for line in threshold_lines(found):
        typer.echo(line)
    typer.echo(
        f"to train on these alone: maskmix fit ... --set weight.zero_below={found.value:.6f}"
    )


def push(
    folder: Annotated[Path, typer.Argument(help="A dataset folder, or the folder of a run.")],
    repo: RepoArgument,
    public: Annotated[bool, typer.Option("--public", help="Default: a private repo.")] = False,
    licence: Annotated[
        str | None, typer.Option(help="Of a model's weights; default: that of its data.")
    ] = None,
) -> None:
    """Publish a dataset, verified, or a model on the Hugging Face hub, with its card, in one commit."""
    if (folder / "model.json").exists():
        from trainer.use.publish import push_model

        typer.echo(push_model(folder, repo, licence=licence, private=not public))
        return
    if licence is not None:
        raise ValueError(f"{folder} holds no model; a dataset's samples bring their licences")
    from pipeline.hub import push as push_dataset

    typer.echo(push_dataset(folder, repo, private=not public))


def pull(
    repo: RepoArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write.")],
    revision: RevisionOption = None,
    model: Annotated[bool, typer.Option("--model", help="A model, not a dataset.")] = False,
) -> None:
    """Fetch a dataset from the hub and verify it, or a model and load it."""
    if model:
        from trainer.use.publish import pull_model

        typer.echo(f"pulled {repo} into {pull_model(repo, out, revision=revision)}")
        return
    from pipeline.hub import pull as pull_dataset

    typer.echo(f"pulled {repo} into {pull_dataset(repo, out, revision=revision)}")


VERBS = (predict, reliability, missingness, threshold, push, pull)
"""In the order in which help lists them."""
