"""What a person sees while a build runs: rate, time left, and counts by outcome, on standard error."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from pipeline.manifest import Receipt, Totals, total


class BuildProgress:
    """Counts receipts into a progress bar; on a pipe it prints one line at every tenth of the way."""

    def __init__(self, bar: Progress, console: Console) -> None:
        self._bar = bar
        self._console = console
        self._task = bar.add_task("build", total=None, outcome="", rate="")
        self._receipts: list[Receipt] = []
        self._found = 0
        self._inputs = 0
        self._tenth = 0

    def start(self, inputs: int, found: list[Receipt]) -> None:
        """Begin with what an earlier run has committed already."""
        self._receipts = list(found)
        self._inputs = inputs
        self._found = sum(r.inputs for r in found)
        if found:
            self._console.print(f"resuming: {self._found} of {inputs} inputs were done before")
        self._show()

    def add(self, receipt: Receipt) -> None:
        """Count one more unit."""
        self._receipts.append(receipt)
        self._show()

    def _show(self) -> None:
        totals = total(self._receipts)
        elapsed = self._bar.tasks[0].elapsed or 0.0
        rate = (totals.inputs - self._found) / elapsed if elapsed > 0 else 0.0
        outcome = _outcome(totals)
        self._bar.update(
            self._task,
            total=self._inputs,
            completed=totals.inputs,
            outcome=outcome,
            rate=f"{rate:.1f}/s",
        )
        tenth = 10 * totals.inputs // max(1, self._inputs)
        if not self._console.is_terminal and tenth > self._tenth:
            self._tenth = tenth
            self._console.print(f"{totals.inputs}/{self._inputs} inputs, {rate:.1f}/s: {outcome}")


@contextmanager
def build_progress() -> Iterator[BuildProgress]:
    """A live bar on a terminal, a few plain lines on a pipe."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[outcome]}"),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        yield BuildProgress(bar, console)


def conservation_table(totals: Totals) -> str:
    """Law 4 as text: every input on one line of the table.

    >>> print(conservation_table(Totals(inputs=3, committed=2, rejected={"keep/no-phrase": 1}, quarantined=0,
    ...     gold=1, licences={}, faults={})))
    input                                3
      committed                          2  (1 with gold for training)
      rejected   keep/no-phrase          1
      quarantined                        0
    """
    rows = [f"{'input':<32}{totals.inputs:>6}"]
    rows.append(f"{'  committed':<32}{totals.committed:>6}  ({totals.gold} with gold for training)")
    rows += [f"{'  rejected   ' + why:<32}{count:>6}" for why, count in totals.rejected.items()]
    rows.append(f"{'  quarantined':<32}{totals.quarantined:>6}")
    rows += [f"{'  expert failed   ' + who:<32}{count:>6}" for who, count in totals.faults.items()]
    return "\n".join(rows)


def _outcome(totals: Totals) -> str:
    rejected = sum(totals.rejected.values())
    return f"{totals.committed} committed, {rejected} rejected, {totals.quarantined} quarantined"
