"""The demo: the commands a person would type, run one after another and printed before they run.

It calls nothing but the command line, so that what it shows is what a user gets.
"""

import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

LOAD = """
from datasets import load_dataset
rows = load_dataset("{folder}", split="train")
print(rows)
print(rows[0]["json"]["instructions"][0], rows[0]["jpg"].size, rows[0]["mask.png"].size)
"""


def demo_commands(out: Path, *, quick: bool) -> list[list[str]]:
    """The demo as argument lists. `quick` is a tenth of the data and of the steps."""
    count, held_out = (60, 20) if quick else (600, 100)
    train, test, compared = f"{out}/train", f"{out}/test", f"{out}/compare"
    fewer = ["--set", "optim.steps=40", "--set", "discriminate.optim.steps=25"] if quick else []
    maskmix = [sys.executable, "-m", "maskmix"]
    return [
        [*maskmix, "build", "--recipe", "demo", "--set", f"source.parts.0.count={count}", "--out", train],
        [
            *maskmix, "build", "--recipe", "tabletop", "--set", f"source.count={held_out}",
            "--set", "source.start=100000", "--set", "split=test", "--out", test,
        ],
        [*maskmix, "verify", train],
        [sys.executable, "-c", LOAD.format(folder=train).strip()],
        [*maskmix, "discriminate", train, "--recipe", "tiny", "--workers", "2", *fewer],
        [
            *maskmix, "compare", train, test, "--recipe", "tiny", "--seeds", "1", "--workers", "2", *fewer,
            "--method", "gold-only", "--method", "uniform", "--method", "dwsl", "--out", compared,
        ],
        [*maskmix, "report", train, "--compare", compared, "--out", f"{out}/report.html"],
    ]  # fmt: skip


def run_demo(out: Path, *, quick: bool, tell: Callable[[str], None]) -> None:
    """Run every command of the demo, telling it first, and stop at the first that fails.

    Raises:
        ValueError: a command failed; names it.
    """
    begun = time.monotonic()
    for command in demo_commands(out, quick=quick):
        shown = shlex.join(["maskmix" if word == "-m" else word for word in command[1:]])
        shown = shown.replace("maskmix maskmix", "maskmix", 1).replace("-c ", "python -c ", 1)
        tell(f"\n$ {shown}   # {time.monotonic() - begun:.0f} s")
        if subprocess.run(command).returncode:
            raise ValueError(f"the demo stopped: `{shown}` failed; its message stands above")
    tell(f"\nDone in {time.monotonic() - begun:.0f} s. Open {out}/report.html")
