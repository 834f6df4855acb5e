"""The experts of a line, each at its seat: made from the recipe, held to what the build began with, and measured.

The driver asks every expert who it is (`annotators.identity`) and writes that down; whoever makes the same line later,
in a worker or in another run, gets the revisions found then and is refused when an expert turns out to be another. So
one dataset is never the work of two commits of a model.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from annotators.identity import identity_of
from annotators.ledger import Ledger
from annotators.protocols import Payer
from annotators.registry import ROLES, make_expert, takes
from pipeline.config import ExpertUse
from pipeline.manifest import PanelEntry
from pipeline.panel_usage import Tally

ExpertFactory = Callable[[ExpertUse], Any]
DECIDES = ("expert", "model", "revision", "prompt_version", "config_hash")
"""What must not change between the runs and workers of one build; a licence may be written down later."""
WITH_WEIGHTS = ("torch", "transformers", "segment-anything")
"""Packages that decide bytes when an expert of the panel has weights."""


def make(use: ExpertUse) -> Any:
    """The expert that a recipe names, in this process."""
    return make_expert(use.use, use.options)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """One expert at its place in the recipe; `use` with the revision it is pinned to."""

    stage: str
    position: int
    use: ExpertUse
    expert: Any
    tally: Tally

    def entry(self) -> PanelEntry:
        """Who sits here.

        Raises:
            ValueError: its weights are not to be had, or its endpoint names no model; the message says what to do.
        """
        return PanelEntry(
            stage=self.stage,
            position=self.position,
            roles=roles_of(self.expert),
            **asdict(identity_of(self.expert, self.use.options)),
        )


class Seats:
    """Makes the experts of a line stage by stage; called with a stage's name, its uses, and the roles that fit it.

    Args:
        factory: makes one expert.
        ledger: what experts that cost something are charged to.
        known: the panel that the build began with; empty in its first driver.
    """

    def __init__(
        self, factory: ExpertFactory, ledger: Ledger, known: Sequence[PanelEntry] = ()
    ) -> None:
        self._factory, self._ledger = factory, ledger
        self._known = {(entry.stage, entry.position): entry for entry in known}
        self.seats: list[Seat] = []

    def __call__(self, stage: str, uses: Sequence[ExpertUse], *roles: type) -> list[Any]:
        """The experts of one stage, measured.

        Raises:
            ValueError: an expert or option is unknown, does not fit the stage, or is another than the build began with.
        """
        seated = [self.seat(stage, position, use) for position, use in enumerate(uses)]
        for seat in seated:
            if not isinstance(seat.expert, roles):
                names = " or ".join(role.__name__ for role in roles)
                raise ValueError(
                    f"stage {stage!r}: expert {seat.use.use!r} is no {names}; move it to the stage it fits"
                )
        self.seats += seated
        return [Measured(seat.expert, seat.tally) for seat in seated]

    def seat(self, stage: str, position: int, use: ExpertUse) -> Seat:
        """One expert, whatever its roles.

        Raises:
            ValueError: as calling does.
        """
        known = self._known.get((stage, position))
        use = pinned(use, known)
        expert = self._factory(use)
        tally = Tally(stage=stage, position=position, expert=expert.name)
        seat = Seat(stage=stage, position=position, use=use, expert=expert, tally=tally)
        if known and (changes := differences([known], [seat.entry()])):
            raise ValueError(
                f"this process sees another panel than the build: {'; '.join(changes)}. Give every machine the same "
                "weights and environment, or say the model and revision in the recipe"
            )
        if isinstance(expert, Payer):
            expert.bill(self._ledger)
        return seat


class Measured:
    """An expert with the same roles, whose every call goes through its tally."""

    def __init__(self, expert: Any, tally: Tally) -> None:
        self.name = expert.name
        if hasattr(expert, "reads_image"):
            self.reads_image = expert.reads_image
        for method in methods_of(expert):
            setattr(self, method, partial(tally.measure, getattr(expert, method)))


def methods_of(expert: Any) -> list[str]:
    """The methods that make it an expert of its roles."""
    return [method for method in ROLES.values() if hasattr(expert, method)]


def roles_of(expert: Any) -> list[str]:
    """Names of the roles an expert has."""
    return [role for role, method in ROLES.items() if hasattr(expert, method)]


def pinned(use: ExpertUse, known: PanelEntry | None) -> ExpertUse:
    """The use with the revision that the build began with: a branch or tag may point elsewhere by now."""
    if known is None or not known.revision or not takes(use.use, "revision"):
        return use
    return use.model_copy(update={"options": {**use.options, "revision": known.revision}})


def differences(theirs: Sequence[PanelEntry], ours: Sequence[PanelEntry]) -> list[str]:
    """What differs between two panels of one recipe, a sentence for each expert that is not what it was."""
    there = {(entry.stage, entry.position): entry for entry in theirs}
    said: list[str] = []
    for entry in ours:
        was = there.pop((entry.stage, entry.position), None)
        if was is None:
            said.append(f"{_place(entry)} was not there")
            continue
        changed = [
            f"{name.replace('_', ' ')} {getattr(was, name)!r} there, {getattr(entry, name)!r} now"
            for name in DECIDES
            if getattr(was, name) != getattr(entry, name)
        ]
        if changed:
            said.append(f"{_place(was)} has " + ", ".join(changed))
    return said + [f"{_place(entry)} is gone" for entry in there.values()]


def resumable(
    begun_with: Sequence[PanelEntry], seats: Sequence[Seat], now: Sequence[PanelEntry]
) -> list[PanelEntry]:
    """The panel `now` with the commits that the build began with, where the hub has moved on since.

    Such an expert is pinned and asked at the old commit. Local files have no old version to go back to.
    """
    there = {(entry.stage, entry.position): entry.revision for entry in begun_with}
    panel: list[PanelEntry] = []
    for seat, entry in zip(seats, now, strict=True):
        revision = there.get((seat.stage, seat.position), "")
        local = not revision or "sha256:" in revision + entry.revision
        if not local and entry.revision and takes(seat.use.use, "revision"):
            entry = entry.model_copy(update={"revision": revision})
        panel.append(entry)
    return panel


def weights_versions(panel: Sequence[PanelEntry]) -> Mapping[str, str]:
    """Versions of the installed packages that run weights; none when no expert of the panel has any."""
    if not any(entry.revision for entry in panel):
        return {}
    found: dict[str, str] = {}
    for name in WITH_WEIGHTS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _place(entry: PanelEntry) -> str:
    return f"expert {entry.expert!r} of stage {entry.stage!r}"
