"""A source: a fixed, ordered list of inputs, each of which loads to a sample or a reject.

`load(i)` depends on the source's configuration and `i` alone, so any worker can load any unit at any time.
"""

from typing import Protocol, runtime_checkable

from pipeline.manifest import PanelEntry
from pipeline.records import Reject, Sample


class Source(Protocol):
    """What a build reads.

    A source module has a pydantic `Config` (frozen, extra forbidden; fields that are paths are typed `Path`) and
    `make(config, image_format) -> Source`; `pipeline.registry` names it. Listing what there is happens in `make` and
    raises ValueError when nothing can be listed (missing file, empty folder). A single bad input is no error: its
    `load` gives a Reject with stage "source". Images go through `pipeline.intake.images.admit`; ids are unique over the
    whole source.
    """

    fills: frozenset[str]
    """Fields of the line that samples are born with; empty for most sources, {"candidates"} for labelled ones."""

    def __len__(self) -> int: ...

    def load(self, index: int) -> Sample | Reject:
        """The input at `index` in 0..len-1."""
        ...


@runtime_checkable
class Voted(Protocol):
    """A source whose samples were asked about in an earlier build knows who was, and may know how many could vote."""

    def panel(self) -> list[PanelEntry]:
        """Experts of the earlier build that made the fields which samples are born with."""
        ...

    def panel_size(self) -> int | None:
        """Experts that could have voted on each sample; None when nobody knows."""
        ...
