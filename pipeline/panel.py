"""Asks experts, batched; an expert that fails on a sample loses its vote there, never the sample or the batch."""

from collections.abc import Callable, Sequence
from typing import Any

from annotators.halt import Halt
from pipeline.records import Sample


def ask(name: str, call: Callable[..., list[Any]], *columns: Sequence[Any]) -> list[Any]:
    """One answer per row of `columns`: what `call(*columns)` gives, or a `Fault` where the expert raised.

    The batch is tried first. Only when it raises is every row tried alone, so a bad row costs itself alone. An
    expert may also answer single rows with the exception it met there.

    Raises:
        Halt: the expert says that the build must stop.
        AssertionError: the expert gave another number of answers than rows; that is a defect of the expert.
    """
    if not columns[0]:
        return []
    try:
        answers = call(*columns)
    except Halt:
        raise
    except Exception as error:
        alone = [[[row] for row in rows] for rows in zip(*columns, strict=True)]
        answers = [_ask_one(call, row) for row in alone] if len(alone) > 1 else [error]
    assert len(answers) == len(columns[0]), (
        f"expert {name!r} gave {len(answers)} answers to {len(columns[0])} rows"
    )
    return [Fault(name, a) if isinstance(a, Exception) else a for a in answers]


class Fault:
    """Stands where an answer would be: the expert failed on this row."""

    def __init__(self, name: str, error: Exception) -> None:
        self.line = f"{name}: {type(error).__name__}: {error}"[:300]


def split_faults(sample: Sample, answers: Sequence[Any]) -> tuple[list[Any], tuple[str, ...]]:
    """The answers that are answers, in panel order, and the sample's fault lines with new ones appended."""
    given = [answer for answer in answers if not isinstance(answer, Fault)]
    return given, sample.faults + tuple(a.line for a in answers if isinstance(a, Fault))


def _ask_one(call: Callable[..., list[Any]], columns: list[list[Any]]) -> Any:
    try:
        return call(*columns)[0]
    except Halt:
        raise
    except Exception as error:
        return error  # whatever a model raises is its vote lost, and said so in the sample
