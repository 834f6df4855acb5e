"""A stage fills one field of a sample or rejects it; a plan is a list of stages, checked before anything runs."""

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.records import LINE, Reject, Sample

BORN = frozenset({"id", "image", "size_hw", "instructions", "source", "style", "extra"})
PANEL = frozenset({"ground", "segment", "join", "fuse", "choose", "score"})
"""Stages that make or judge machine labels: none of them may see gold."""
ASKING = frozenset({"ground", "segment", "join"})
"""Stages that ask experts where the target is: they may not read what somebody wrote who saw gold, either."""


class Images(Protocol):
    """Decoded images of one unit, each decoded once."""

    def __call__(self, sample: Sample) -> NDArray[np.uint8]:
        """RGB uint8 (h, w, 3), upright; the caller must not write into it."""
        ...


class Stage(Protocol):
    """One step of the line over the samples of a unit.

    `reads` names the fields it looks at, `writes` the one it fills (None: it only keeps or rejects). A stage that reads
    the field it writes adds to it, at its end. The answer has one entry per sample, in order. A stage holds no state
    between calls: a unit gives the same bytes wherever it runs.
    """

    name: str
    reads: frozenset[str]
    writes: str | None

    def __call__(self, samples: Sequence[Sample], images: Images) -> list[Sample | Reject]: ...


def check_plan(born_with: Iterable[str], stages: Sequence[Stage]) -> None:
    """Refuse a plan in which a stage reads what nobody filled, fills a field twice or out of order, or peeks at gold.

    A labelled plan may fill phrases from gold (enrich) or adopt gold, but then no expert is asked to find them.

    `born_with` are the fields of the line that the source itself fills.

    Raises:
        ValueError: naming the stage and what it lacks.
    """
    filled = [field for field in LINE if field in set(born_with)]
    tainted: dict[str, str] = {}
    for stage in stages:
        if "gold" in stage.reads and stage.name in PANEL:
            raise ValueError(
                f"stage {stage.name!r} reads gold; a panel that sees the human mask cannot be trusted"
            )
        for field in sorted(stage.reads & tainted.keys()) if stage.name in ASKING else ():
            raise ValueError(
                f"stage {stage.name!r} reads {field}, which stage {tainted[field]!r} wrote knowing gold; the labelled "
                "path is a plan of its own"
            )
        missing = sorted(stage.reads - BORN - {"gold", "gold_role"} - set(filled))
        if missing:
            raise ValueError(
                f"stage {stage.name!r} reads {', '.join(missing)}, which no earlier stage fills"
            )
        if stage.writes is None:
            continue
        if stage.writes in filled and stage.writes not in stage.reads:
            raise ValueError(
                f"stage {stage.name!r} fills {stage.writes!r}, which is filled already"
            )
        late = [field for field in filled if LINE.index(field) > LINE.index(stage.writes)]
        if late:
            raise ValueError(
                f"stage {stage.name!r} fills {stage.writes!r} after {late[0]!r}; the line runs {LINE}"
            )
        filled += [] if stage.writes in filled else [stage.writes]
        if "gold" in stage.reads:
            tainted[stage.writes] = stage.name
    if "label" not in filled:
        raise ValueError(
            "this plan makes no label: add a 'fuse' stage, or use a source that brings labels"
        )
