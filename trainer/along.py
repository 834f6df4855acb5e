"""How methods fare along a study's axis: what one does over all its places, and how far apart these lie.

A place is a mask ratio, a share of the data, a share of spoiled labels; a claim of robustness is a small `apart`.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from trainer.compare import means


def along_text(cells: Sequence[Mapping[str, Any]], axis: str, *, metric: str = "giou") -> str:
    """The cells of a study (trainer.study) as one table for each bench and group that has several places.

    One line a method: the mean over seeds at each place, the mean over places, and `apart`, the highest less the
    lowest of them (0 where the axis changes nothing for it); for methods that were run at every place. Empty where no
    group has several.
    """
    groups: dict[tuple[str, str], dict[float, dict[str, float]]] = {}
    for cell in cells:
        if cell["x"] is not None:
            found = groups.setdefault((cell["bench"], cell["group"]), {})
            found[cell["x"]] = means(cell["rows"], metric)
    tables = [
        _table(f"{bench}, {group}: {metric} along {axis}", dict(sorted(at.items())))
        for (bench, group), at in groups.items()
        if len(at) > 1
    ]
    return "\n".join(tables)


def _table(title: str, at: Mapping[float, Mapping[str, float]]) -> str:
    """Of means by place and method."""
    everywhere = [
        name for name in next(iter(at.values())) if all(name in row for row in at.values())
    ]
    head = "".join(f"{f'{x:g}':>9}" for x in at)
    lines = [title, f"{'method':<24}{head}{'mean':>9}{'apart':>9}"]
    for name in everywhere:
        values = [row[name] for row in at.values()]
        told = (*values, fmean(values), max(values) - min(values))
        lines.append(f"{name:<24}" + "".join(f"{value:>9.3f}" for value in told))
    return "\n".join(lines) + "\n"
