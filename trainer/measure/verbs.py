"""The verbs of the command line that measure a model; `maskmix.py` hangs them up."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.options import JsonOption, OutOption, say_facts, say_json
from trainer.named_dataset import TrainArgument, local_dataset
from trainer.use.verbs import EffectName


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
        found = evaluate_refcoco(run, local_dataset(dataset), protocol=chosen)
        if as_json:
            say_json(found)
        else:
            typer.echo(table_text(found["rows"], chosen))
        return
    from trainer.measure.evaluate import evaluate as measure
    from trainer.measure.evidence import evidence_lines, image_text_witness

    witness = image_text_witness(evidence) if evidence else None
    facts = measure(run, local_dataset(dataset), witness=witness)
    short = facts["overall"] | {"dataset": facts["dataset"]}
    if as_json and witness is not None:
        short["evidence"] = facts["evidence"]
    say_facts(short, as_json)
    if witness is not None and not as_json:
        typer.echo("\n".join(evidence_lines(facts["evidence"])))


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


VERBS = (evaluate, vqa_bench)
"""In the order in which help lists them."""
