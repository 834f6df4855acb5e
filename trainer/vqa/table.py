"""Tables of visual questions as the papers print them: rows are models, with and without masking, numbers percent.

V*Bench and EgoThink: a column for each group, as in IVM's table (arXiv 2405.19783), and a last row with what masking
gained. POPE: a row for each setting and model, as in its paper. Behind them always what was not read and what failed.
"""

from collections.abc import Mapping, Sequence
from typing import Any

POPE = {
    "Accuracy": "accuracy", "Precision": "precision", "Recall": "recall", "F1": "f1", "Yes": "yes_ratio",
}  # fmt: skip
COUNTS = ("asked", "unparsed", "failed")
Numbers = Mapping[str, Any]


def columns_text(rows: Mapping[str, Numbers], last: str, key: str, digits: int = 1) -> str:
    """Lines of `name`, its groups and a last column called `last` from `key`; two rows give a line of differences."""
    groups = list(next(iter(rows.values()))["groups"])
    wide = max(6, digits + 5, *(len(group) for group in (*groups, last)))
    body = {
        name: [*(100 * n["groups"][group] for group in groups), 100 * n[key]]
        for name, n in rows.items()
    }
    width = max(12, *(len(name) for name in rows))
    lines = [_line("model", [*groups, last], COUNTS, width, wide)]
    for name, values in body.items():
        lines.append(
            _line(
                name,
                [f"{v:.{digits}f}" for v in values],
                [str(rows[name][c]) for c in COUNTS],
                width,
                wide,
            )
        )
    if len(body) == 2:
        before, after = body.values()
        gained = [f"{b - a:+.{digits}f}" for a, b in zip(before, after, strict=True)]
        lines.append(_line("gain", gained, [""] * len(COUNTS), width, wide))
    return "\n".join(line.rstrip() for line in lines) + "\n"


def pope_text(settings: Mapping[str, Mapping[str, Numbers]]) -> str:
    """Lines of setting and model with POPE's five numbers; `settings` is {setting: {model: numbers}}."""
    names = [f"{setting} {name}" for setting, rows in settings.items() for name in rows]
    width = max(12, *(len(name) for name in names))
    lines = [_line("setting, model", list(POPE), COUNTS, width, 9)]
    for setting, rows in settings.items():
        for name, n in rows.items():
            values = ["-" if n[k] is None else f"{100 * n[k]:.2f}" for k in POPE.values()]
            lines.append(_line(f"{setting} {name}", values, [str(n[c]) for c in COUNTS], width, 9))
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _line(name: str, values: Sequence[str], counts: Sequence[str], width: int, wide: int) -> str:
    cells = "".join(f" {value:>{wide}}" for value in values)
    return f"{name:<{max(width, 14)}}{cells}" + "".join(f" {count:>8}" for count in counts)
