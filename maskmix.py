"""The front door: one command, its verbs loaded on use. `maskmix --help`, or `python -m maskmix`.

Every verb prints what a person wants to read; with `--json` its last line on standard output is one JSON object.
Errors that a user can mend are one line and exit code 2; a build that stopped cleanly is one line and exit code 3, and
the same command goes on with it, as does a training that a signal stopped (143 for SIGTERM, 130 for SIGINT);
everything else is a traceback.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from annotators.halt import Halt
from pipeline import expert_verbs
from pipeline import verbs as dataset_verbs
from pipeline.options import OutOption
from trainer import verbs as training_verbs
from trainer.engine.stop import Interrupted
from trainer.measure import verbs as measuring_verbs
from trainer.use import verbs as using_verbs

STOPPED = 3
"""Exit code of a command that stopped cleanly before its end: run it again."""
PARTS = (dataset_verbs, training_verbs, measuring_verbs, using_verbs)

app = typer.Typer(
    help="Instruction-relevant masks you can trust: annotate, judge, train, use.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


for part in PARTS:
    for verb in part.VERBS:
        app.command()(verb)


app.add_typer(expert_verbs.app, name="experts")


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


if __name__ == "__main__":
    main()
