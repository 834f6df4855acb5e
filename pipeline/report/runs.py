"""What a report reads about learning: the discriminator's sidecars, run folders, results and comparisons.

Plain files only (JSON, JSON lines, parquet), so that the pipeline knows nothing of the trainer. An absent file is an
absent section; a damaged one is an error that names it. Numbers that are absent or null stay None.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from annotators.masks import BoolMask, Mask
from pipeline.sidecar import sidecar_path

METRICS = {
    "giou": "gIoU", "ciou": "cIoU", "p50": "P@.5", "p60": "P@.6", "p70": "P@.7", "p80": "P@.8", "p90": "P@.9",
    "n_acc": "N-acc", "t_acc": "T-acc",
}  # fmt: skip
"""Key in results and compare.json, and the name in print; higher is better for all."""
COMPARED = ("giou", "ciou", "p50", "p70", "p90", "n_acc", "t_acc")
"""What the comparison shows of them."""
ORACLES = ("oracle", "clean-only", "clean_only")
"""Methods that learn from what no one would have in earnest; a row may also say `oracle: true` itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One evaluation: RUN/results/NAME.json, and the predictions beside it where they were kept."""

    name: str
    dataset: str
    samples: int
    overall: Mapping[str, float | None]
    by_style: Mapping[str, Mapping[str, float | None]]
    by_source: Mapping[str, Mapping[str, float | None]]
    predictions: Path | None
    evidence: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One training run: RUN/run.json, its log line by line, and its results."""

    folder: Path
    method: str
    seed: str
    settings: Mapping[str, Any]
    log: Sequence[Mapping[str, Any]]
    results: Sequence[Result]

    @property
    def name(self) -> str:
        return f"{self.method} · seed {self.seed}" if self.seed else self.method

    @property
    def steps(self) -> int | None:
        """Steps of the run: as run.json says, or its recipe."""
        recipe = self.settings.get("recipe") or {}
        return self.settings.get("steps") or (recipe.get("optim") or {}).get("steps")

    def curve(self, key: str) -> list[tuple[float, float]]:
        """(step, value) wherever the log has a number under `key`."""
        return [
            (float(line["step"]), float(line[key]))
            for line in self.log
            if _is_number(line.get("step")) and _is_number(line.get(key))
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Mean and standard deviation (n - 1; None for one seed) of a metric over seeds.

    `best` of its column, oracles aside; nobody is where all are equal.
    """

    mean: float
    sd: float | None
    best: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One line of the comparison."""

    name: str
    oracle: bool
    seeds: int
    cells: Mapping[str, Cell]
    values: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """compare.json, seeds gathered per method, in order of first appearance."""

    dataset: str
    test: str
    budget: Mapping[str, Any]
    metrics: tuple[str, ...]
    methods: Sequence[Method]


def read_run(folder: Path) -> Run:
    """Read a run folder.

    Raises:
        ValueError: there is no run.json, or a file is damaged; names it.
    """
    settings = read_object(folder / "run.json")
    seed = settings.get("seed")
    return Run(
        folder=folder,
        method=str(settings.get("method") or folder.name),
        seed="" if seed is None else str(seed),
        settings=settings,
        log=read_lines(folder / "log.jsonl"),
        results=[_result(path) for path in sorted((folder / "results").glob("*.json"))],
    )


def runs_beside(compare: Path, comparison: Comparison) -> list[Run]:
    """The runs whose folders lie beside a compare.json, in the order of its table."""
    order = [method.name for method in comparison.methods]
    runs = [read_run(path.parent) for path in sorted(compare.parent.glob("*/run.json"))]
    listed = [run for run in runs if run.method in order]
    return sorted(listed, key=lambda run: (order.index(run.method), run.seed.zfill(9)))


def tones_of(runs: Sequence[Run]) -> dict[str, int]:
    """Method -> the tone of its lines in plots, in order of first appearance."""
    return {name: tone for tone, name in enumerate(dict.fromkeys(run.method for run in runs))}


def read_predictions(path: Path, worst: int) -> list[tuple[str, float, BoolMask]]:
    """The `worst` predictions of a results table, worst first: (sample id, IoU, mask).

    Raises:
        ValueError: the table is unreadable or a mask does not fit its size.
    """
    try:
        table = pq.read_table(path, columns=["sample_id", "iou", "height", "width", "counts"])
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is not a table of predictions: {error}") from error
    order = np.lexsort((table["sample_id"].to_numpy(), table["iou"].to_numpy()))[:worst]
    return [
        (
            row["sample_id"],
            float(row["iou"]),
            Mask(size_hw=(row["height"], row["width"]), counts=row["counts"]).array(),
        )
        for row in table.take(order.tolist()).to_pylist()
    ]


def read_discriminator(root: Path) -> dict[str, Any] | None:
    """sidecars/discriminator.json, or None when nobody ran one."""
    path = root / "sidecars" / "discriminator.json"
    return read_object(path) if path.exists() else None


def read_weights(root: Path) -> tuple[list[float], list[float]] | None:
    """(p_clean, weight) of the weights sidecar, or None without one."""
    path = sidecar_path(root, "weights")
    if not path.exists():
        return None
    table = pq.read_table(path, columns=["p_clean", "weight"])
    return table["p_clean"].to_pylist(), table["weight"].to_pylist()


def read_comparison(path: Path) -> Comparison:
    """compare.json with mean and standard deviation over seeds; the best of a column leaves oracles aside.

    Raises:
        ValueError: the file is damaged or has no rows.
    """
    stored = read_object(path)
    rows = stored.get("rows")
    if not isinstance(rows, list) or not all(isinstance(r, dict) and "method" in r for r in rows):
        raise ValueError(f"{path} has no list of rows with a method; run `maskmix compare` again")
    metrics = tuple(m for m in COMPARED if any(_is_number(row.get(m)) for row in rows))
    grouped: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        grouped.setdefault(str(row["method"]), []).append(row)
    values = {
        name: {m: tuple(float(r[m]) for r in mine if _is_number(r.get(m))) for m in metrics}
        for name, mine in grouped.items()
    }
    oracles = {
        name
        for name, mine in grouped.items()
        if name in ORACLES or any(r.get("oracle") is True for r in mine)
    }
    fair = {
        m: [fmean(v[m]) for name, v in values.items() if name not in oracles and v[m]]
        for m in metrics
    }
    top = {m: max(means) if len(set(means)) > 1 else None for m, means in fair.items()}
    return Comparison(
        dataset=Path(str(stored.get("dataset", ""))).name,
        test=Path(str(stored.get("test", ""))).name,
        budget=stored.get("budget") or {},
        metrics=metrics,
        methods=[
            Method(
                name=name,
                oracle=name in oracles,
                seeds=len(grouped[name]),
                values=mine,
                cells={
                    m: Cell(
                        mean=fmean(v),
                        sd=stdev(v) if len(v) > 1 else None,
                        best=name not in oracles and fmean(v) == top[m],
                    )
                    for m, v in mine.items()
                    if v
                },
            )
            for name, mine in values.items()
        ],
    )


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        ValueError: absent, unreadable or not an object; names the file.
    """
    try:
        stored = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is not readable JSON: {error}") from error
    if not isinstance(stored, dict):
        raise ValueError(f"{path} holds a {type(stored).__name__}; expected a JSON object")
    return stored


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON lines file, none when it is absent; a last line that was cut short is left out.

    Raises:
        ValueError: another line is not a JSON object; names file and line.
    """
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    lines = text.split("\n")
    if not text.endswith("\n"):
        lines.pop()  # still being written
    found: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path} line {number} is not JSON: {error}") from error
        if not isinstance(entry, dict):
            raise ValueError(f"{path} line {number} is no JSON object")
        found.append(entry)
    return found


def _result(path: Path) -> Result:
    stored = read_object(path)
    table = path.with_suffix(".parquet")
    return Result(
        name=path.stem,
        dataset=str(stored.get("dataset", "")),
        samples=int(stored.get("samples", 0)),
        overall=_numbers(stored.get("overall")),
        by_style={str(k): _numbers(v) for k, v in (stored.get("by_style") or {}).items()},
        by_source={str(k): _numbers(v) for k, v in (stored.get("by_source") or {}).items()},
        predictions=table if table.exists() else None,
        evidence=stored.get("evidence"),
    )


def _numbers(stored: Any) -> dict[str, float | None]:
    return {str(k): float(v) if _is_number(v) else None for k, v in (stored or {}).items()}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
