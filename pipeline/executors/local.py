"""Runs units one after another in this process: no start-up, and a debugger reaches everything.

Every expert lives here too: what a recipe says of `resources` is for a cluster.
"""

from collections.abc import Iterator, Sequence

from pipeline.line import Job, Unit, make_line
from pipeline.manifest import Receipt
from pipeline.work import run_unit


def run_local(job: Job, units: Sequence[Unit]) -> Iterator[Receipt]:
    """Yield the receipt of each unit as it is committed."""
    line = make_line(job)
    for unit in units:
        yield run_unit(line, unit, job.root)
