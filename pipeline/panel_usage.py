"""What experts were asked and what it took, unit by unit: written beside the receipts, and no part of the dataset.

Receipts and shards depend on the recipe alone; seconds do not. So these numbers have a folder of their own, which may
be lost without loss: `verify` does not ask for it and `push` does not send it.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from annotators.halt import Halt
from pipeline.manifest import write_json

USAGE = "usage"
"""The folder, under the dataset folder."""
BUDGET = "budget.json"
"""In that folder: the recipe's budget in the latest run, which knows the prices."""


class ExpertUsage(BaseModel):
    """One expert over the samples it was asked about: asked == answered + abstained + failed."""

    model_config = ConfigDict(extra="forbid")

    stage: str
    position: int
    expert: str
    asked: int = 0
    answered: int = 0
    abstained: int = 0
    """It had nothing to say: an empty list, or no verdict."""
    failed: int = 0
    batches: int = 0
    """Calls that carried them, those that failed as a whole and were asked again row by row included."""
    seconds: float = 0.0
    """Wall time of these calls, waiting for a free replica included."""


class UnitUsage(BaseModel):
    """All experts over one unit."""

    model_config = ConfigDict(extra="forbid")

    unit: int
    experts: list[ExpertUsage]


class Tally:
    """Counts what one expert is asked; the unit that runs reads it and starts it anew."""

    def __init__(self, *, stage: str, position: int, expert: str) -> None:
        self._blank = ExpertUsage(stage=stage, position=position, expert=expert)
        self._now = self._blank.model_copy()

    def measure(
        self, call: Callable[..., list[Any]], *columns: Sequence[Any], **rest: Any
    ) -> list[Any]:
        """What `call(*columns, **rest)` gives, counted.

        A call with several rows that raises counts no row: `pipeline.panel.ask` asks them again one by one.
        """
        now, rows, started = self._now, len(columns[0]), perf_counter()
        try:
            answers = call(*columns, **rest)
        except Halt:
            raise
        except Exception:
            now.asked += rows == 1
            now.failed += rows == 1
            raise
        finally:
            now.batches += 1
            now.seconds += perf_counter() - started
        now.asked += rows
        for answer in answers:
            if isinstance(answer, Exception):
                now.failed += 1
            elif answer is None or (isinstance(answer, Sequence) and not answer):
                now.abstained += 1
            else:
                now.answered += 1
        return answers

    def take(self) -> ExpertUsage:
        """The counts since the last time."""
        taken, self._now = self._now, self._blank.model_copy()
        return taken.model_copy(update={"seconds": round(taken.seconds, 4)})


def write_usage(root: Path, split: str, unit: int, experts: Iterable[ExpertUsage]) -> None:
    """Write what the experts of one unit were asked; an earlier attempt's file is replaced."""
    path = root / USAGE / f"{split}-{unit:06d}.json"
    path.parent.mkdir(exist_ok=True)
    write_json(path, UnitUsage(unit=unit, experts=list(experts)))


def read_usage(root: Path, units: Iterable[int]) -> tuple[list[ExpertUsage], int]:
    """Each expert summed over the files of these units, stage by stage as they were written, and how many had one.

    Raises:
        ValueError: a file is unreadable; names it.
    """
    wanted, found = set(units), 0
    sums: dict[tuple[str, int], ExpertUsage] = {}
    for path in sorted((root / USAGE).glob("*-*.json")):
        try:
            usage = UnitUsage.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise ValueError(
                f"{path} is not readable: {error}; delete it, nothing needs it"
            ) from error
        if usage.unit not in wanted:
            continue
        found += 1
        for one in usage.experts:
            sums[one.stage, one.position] = _add(sums.get((one.stage, one.position)), one)
    return list(sums.values()), found


def _add(total: ExpertUsage | None, one: ExpertUsage) -> ExpertUsage:
    if total is None:
        return one
    counts = ("asked", "answered", "abstained", "failed", "batches", "seconds")
    return total.model_copy(update={c: getattr(total, c) + getattr(one, c) for c in counts})
