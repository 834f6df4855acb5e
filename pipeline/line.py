"""A recipe come alive: its source, its experts and its stages, made once in each process that walks it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from annotators.ledger import Ledger, Limits
from annotators.protocols import (
    Enricher,
    Grounder,
    Rewriter,
    Segmenter,
    TextSegmenter,
    Verifier,
)
from pipeline.config import BudgetConfig, Recipe, recipe_hash, validate
from pipeline.learnt import inline_learnt
from pipeline.manifest import PanelEntry
from pipeline.panel_seats import ExpertFactory, Seat, Seats, make
from pipeline.registry import source_module
from pipeline.source import Source, Voted
from pipeline.stage import Stage, check_plan

SPENDING = "spending.jsonl"
"""What the experts of a build have cost, in the dataset folder; no part of the dataset."""
MakePanel = Callable[..., list[Any]]
"""(stage, uses, *roles) -> its experts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a worker is given, all of it picklable. Relative paths of the recipe start from `base`.

    `panel` is what the build began with: it pins revisions, and no worker may see another.
    """

    recipe: Recipe
    root: Path
    base: Path
    panel: tuple[PanelEntry, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """Inputs `start` to `stop` (half-open) of the source; becomes shard number `index`."""

    index: int
    start: int
    stop: int

    @property
    def inputs(self) -> range:
        """Their numbers in the source."""
        return range(self.start, self.stop)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A recipe come alive in one process: its source and its stages, each made once."""

    recipe: Recipe
    source: Source
    stages: tuple[Stage, ...]
    seats: tuple[Seat, ...]
    """The experts of the stages, in their order."""
    panel: tuple[PanelEntry, ...]
    """The job's."""
    hash: str = field(repr=False)

    @property
    def inputs(self) -> int:
        """Number of inputs, after the recipe's limit."""
        return min(len(self.source), self.recipe.limit or len(self.source))

    def units(self) -> list[Unit]:
        """The plan: every input in exactly one unit."""
        size = self.recipe.unit_size
        return [
            Unit(index=number, start=start, stop=min(start + size, self.inputs))
            for number, start in enumerate(range(0, self.inputs, size))
        ]


def resolve(raw: Mapping[str, Any]) -> Recipe:
    """A validated recipe with all defaults of its source and what was learnt filled in: its hash names what matters.

    Raises:
        ValueError: an unknown or wrong key, at any depth, or a file under `learnt` that is not to be had.
    """
    recipe: Recipe = validate(Recipe, raw, "recipe")
    source = _resolve_source(recipe.source, recipe.seed)
    return recipe.model_copy(update={"source": source, "stages": inline_learnt(recipe.stages)})


def make_line(job: Job, expert_factory: ExpertFactory = make) -> Line:
    """Build the source and the stages of a resolved recipe and check that they fit together.

    Raises:
        ValueError: the source cannot be listed, an expert or option is unknown, the plan does not hold, or an expert
            is another than `job.panel` says.
    """
    recipe = job.recipe
    seats = make_seats(job, expert_factory)
    stages = _stages(recipe, seats)
    options = _absolute(recipe.source, job.base)
    module = source_module(options.pop("kind"))
    source = module.make(module.Config.model_validate(options), recipe.image_format)
    check_plan(source.fills, stages)
    stages = _of_panel(stages, source)
    return Line(
        recipe=recipe,
        source=source,
        stages=stages,
        seats=tuple(seats.seats),
        panel=job.panel,
        hash=recipe_hash(recipe),
    )


def _of_panel(stages: tuple[Stage, ...], source: Source) -> tuple[Stage, ...]:
    """Candidates that samples are born with are votes of a panel whose size only the source can know."""
    from pipeline.stages.join import Join
    from pipeline.stages.score import Score

    if "candidates" not in source.fills:
        return stages
    size = source.panel_size() if isinstance(source, Voted) else None
    if size is not None:
        size += sum(len(stage.experts) for stage in stages if isinstance(stage, Join))
    return tuple(stage.of_panel(size) if isinstance(stage, Score) else stage for stage in stages)


def seats_of(job: Job) -> tuple[Seat, ...]:
    """The experts of a job, without its source.

    Raises:
        ValueError: as `make_line`.
    """
    seats = make_seats(job, make)
    _stages(job.recipe, seats)
    return tuple(seats.seats)


def make_seats(job: Job, expert_factory: ExpertFactory) -> Seats:
    """What makes the experts of a job, those that cost something charged to the build's ledger."""
    return Seats(expert_factory, open_ledger(job.root, job.recipe.budget), job.panel)


def open_ledger(root: Path, budget: BudgetConfig) -> Ledger:
    """The ledger of the build in `root`; its file is made by the first call."""
    return Ledger(root / SPENDING, Limits(**budget.model_dump()))


def _resolve_source(raw: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Source options with defaults filled in, and `seed` where the source draws and the recipe gives it no other."""
    options = dict(raw)
    kind = options.pop("kind", None)
    if not isinstance(kind, str):
        raise ValueError(
            f"recipe: source.kind is {kind!r}; expected the name of a source, e.g. kind: folder"
        )
    known = source_module(kind).Config
    for name in {"seed", "gold_seed"} & set(known.model_fields):
        options.setdefault(name, seed)
    config = validate(known, options, f"recipe source {kind!r}")
    resolved = {"kind": kind, **config.model_dump(mode="json")}
    if "parts" in resolved:
        resolved["parts"] = [_resolve_source(part, seed) for part in resolved["parts"]]
    return resolved


def _absolute(source: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """Source options with every path made absolute, parts of a source included.

    The recipe keeps paths as they were typed, so that its hash is the same on every machine.
    """
    options = {key: value for key, value in source.items() if key != "kind"}
    config = source_module(source["kind"]).Config.model_validate(options)
    for name, value in config:
        if isinstance(value, Path):
            options[name] = str(base / value)
    if "parts" in options:
        options["parts"] = [_absolute(part, base) for part in options["parts"]]
    return {"kind": source["kind"], **options}


def _stages(recipe: Recipe, panel: MakePanel) -> tuple[Stage, ...]:
    """The stages of a recipe in their one order; `panel` makes the experts of one and holds them to its roles."""
    from pipeline.stages.adopt import Adopt
    from pipeline.stages.boxes import Boxes
    from pipeline.stages.choose import Choose
    from pipeline.stages.enrich import Enrich
    from pipeline.stages.fuse import Fuse
    from pipeline.stages.ground import Ground
    from pipeline.stages.join import Join
    from pipeline.stages.keep import Keep
    from pipeline.stages.rewrite import Rewrite
    from pipeline.stages.score import Score
    from pipeline.stages.segment import Segment

    config = recipe.stages
    stages: list[Stage] = []
    boxers, voters = 0, 0
    if config.rewrite:
        rewriters = panel("rewrite", config.rewrite.experts, Rewriter)
        stages.append(Rewrite(rewriters, keep_raw=config.rewrite.keep_raw))
    if config.enrich:
        enrichers = panel("enrich", config.enrich.experts, Enricher)
        stages.append(Enrich(enrichers, keep_raw=config.enrich.keep_raw))
    if config.ground:
        grounders = panel("ground", config.ground.experts, Grounder)
        stages.append(Ground(grounders))
        boxers += len(grounders)
    if config.boxes:
        stages.append(Boxes())
        boxers += 1
    if config.segment:
        segmenters = panel("segment", config.segment.experts, Segmenter, TextSegmenter)
        stages.append(Segment(segmenters))
        voters += sum(boxers if isinstance(s, Segmenter) else 1 for s in segmenters)
    if config.adopt:
        stages.append(Adopt())
        voters += 1
    if config.join:
        joiners = panel("join", config.join.experts, TextSegmenter)
        stages.append(Join(joiners))
        voters += len(joiners)
    if config.fuse:
        stages.append(Fuse(config.fuse))
    if config.choose:
        stages.append(Choose(config.choose, panel("choose", config.choose.judges, Verifier)))
    if config.score:
        verifiers = panel("score", config.score.verifiers, Verifier)
        stages.append(Score(config.score, panel_size=max(1, voters), verifiers=verifiers))
    if config.keep:
        stages.append(Keep(config.keep, scored=config.score is not None))
    return tuple(stages)
