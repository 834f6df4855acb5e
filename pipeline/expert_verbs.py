"""`maskmix experts`: which experts there are, one tried on a photograph, and whether a recipe's are ready."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.options import JsonOption, SetOption, say_json
from pipeline.verbs import RecipeOption

app = typer.Typer(help="List, try and check experts.", add_completion=False)


@app.callback(invoke_without_command=True)
def experts(context: typer.Context, as_json: JsonOption = False) -> None:
    """List, try and check experts. Alone it lists them."""
    if context.invoked_subcommand is None:
        list_experts(as_json)


@app.command("list")
def list_experts(
    as_json: JsonOption = False,
    fakes: Annotated[bool, typer.Option("--fakes", help="Also those for tests.")] = False,
) -> None:
    """List the experts that a recipe may use: built in, and those of installed packages."""
    from annotators.registry import describe_experts

    rows = [row for row in describe_experts() if fakes or not row["name"].startswith("fake_")]
    if as_json:
        say_json({"experts": rows})
        return
    for row in rows:
        typer.echo(f"{row['name']:<20} {row['roles']:<24} {row['about']}")


@app.command("try")
def try_one(
    name: Annotated[str, typer.Argument(help="A registered expert.")],
    text: Annotated[str | None, typer.Argument(help="An instruction or phrase.")] = None,
    image: Annotated[Path | None, typer.Option(help="A photograph.")] = None,
    box: Annotated[
        list[str] | None, typer.Option(help="x1,y1,x2,y2 in pixels. Repeatable.")
    ] = None,
    override: Annotated[
        list[str] | None, typer.Option("--set", help="An option of the expert: a=b. Repeatable.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The photograph, drawn on.")] = Path(
        "trial.png"
    ),
    as_json: JsonOption = False,
) -> None:
    """Ask one expert about one photograph; print its answers and draw them."""
    from annotators.identity import identity_of
    from annotators.registry import make_expert
    from annotators.trial import draw_trial, try_expert
    from pipeline.config import set_keys
    from pipeline.intake.images import admit, decode

    options: dict[str, Any] = set_keys({}, override or [])
    expert = make_expert(name, options)
    pixels = decode(admit(image.read_bytes(), "png").image) if image else None
    trial = try_expert(expert, image=pixels, text=text, boxes=[_box(b) for b in box or []])
    facts = {
        "identity": asdict(identity_of(expert, options)),
        "phrases": [{"text": p.text, "role": p.role, "count": p.count} for p in trial.phrases],
        "boxes": [{"box": p.box, "score": p.score} for p in trial.proposals],
        "masks": [
            {"area": c.mask.area(), "box": c.mask.box(), "score": c.mask_score, "stability": c.stability}
            for c in trial.candidates
        ],
        "verdicts": [asdict(v) for v in trial.verdicts],
    }  # fmt: skip
    if as_json:
        say_json(facts)
    else:
        for kind, rows in facts.items():
            for row in [rows] if isinstance(rows, dict) else rows:
                typer.echo(
                    f"{kind:<9} " + "  ".join(f"{k} {_short(v)}" for k, v in row.items() if v)
                )
        for role, what in trial.lacking.items():
            typer.echo(f"not tried as {role}: give {what}")
        if not any(rows for kind, rows in facts.items() if kind != "identity"):
            typer.echo("it abstained")
    if pixels is not None and (trial.proposals or trial.candidates):
        from cv2 import COLOR_RGB2BGR, cvtColor, imwrite

        if not imwrite(str(out), cvtColor(draw_trial(pixels, trial), COLOR_RGB2BGR)):
            raise ValueError(
                f"cannot write {out}; give --out a .png or .jpg in a folder that exists"
            )
        typer.echo(f"wrote {out}", err=as_json)


@app.command()
def doctor(
    recipe: RecipeOption = "lite",
    override: SetOption = None,
    forward: Annotated[
        bool, typer.Option("--forward/--no-forward", help="Ask each about a small picture.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Check every expert of a recipe: weights, licence, device, one forward pass. Exit code 1 if one is not ready."""
    from pipeline.config import Recipe, load_recipe, validate
    from pipeline.doctor import examine, uses_of

    raw: Recipe = validate(Recipe, load_recipe(recipe, override or []), f"recipe {recipe}")
    found = []
    for finding in examine(list(uses_of(raw.stages)), forward=forward):
        found.append(finding)
        if as_json:
            continue
        who = finding.identity
        took = "" if finding.seconds is None else f"{finding.seconds:.1f} s"
        state = "NOT READY" if finding.trouble else "ready"
        model = who.model or "no model"
        model += f" @ {who.revision[:14]}" if who.revision else ""
        model += f", licence {who.licence}" if who.licence else ""
        typer.echo(f"{state:<10} {finding.stage}/{who.expert}: {model}, weights {finding.weights}"
                   + "".join(f", {part}" for part in (finding.device, took) if part))  # fmt: skip
        if finding.trouble:
            typer.echo(f"           {finding.trouble}")
    if as_json:
        say_json({"recipe": raw.name, "experts": [asdict(finding) for finding in found]})
    if any(finding.trouble for finding in found):
        raise typer.Exit(1)


def _box(text: str) -> tuple[float, float, float, float]:
    try:
        x1, y1, x2, y2 = (float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"--box {text!r}; expected x1,y1,x2,y2 in pixels") from None
    return (x1, y1, x2, y2)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, tuple):
        return "(" + ", ".join(f"{v:.1f}" for v in value) + ")"
    return str(value)
