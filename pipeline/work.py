"""One unit: source -> stages -> shard -> receipt. No Ray in here, and nothing that depends on where it runs.

A unit depends on (recipe, unit index) alone, so a retry, another order or another number of workers gives the same
bytes. What raises is charged to the sample that raised: it is quarantined, and the unit goes on.
"""

import json
import platform
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from annotators.protocols import Grounder, Rewriter, Segmenter, TextSegmenter
from annotators.registry import make_expert
from pipeline.codec import encode_sample
from pipeline.config import ExpertUse, Recipe, recipe_hash, validate
from pipeline.intake.images import UnitImages
from pipeline.manifest import Receipt, receipt_path, shard_name, write_json
from pipeline.records import Reject, Sample
from pipeline.registry import source_module
from pipeline.shards import ShardWriter, write_atomic
from pipeline.source import Source
from pipeline.stage import Stage, check_plan

QUARANTINE = "quarantine"
ExpertFactory = Callable[[str, Mapping[str, Any]], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a worker is given, all of it picklable. Relative paths of the recipe start from `base`."""

    recipe: Recipe
    root: Path
    base: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """Inputs `start` to `stop` (half-open) of the source; becomes shard number `index`."""

    index: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A recipe come alive in one process: its source and its stages, each made once."""

    recipe: Recipe
    source: Source
    stages: tuple[Stage, ...]
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
    """A validated recipe with every default of its source filled in, so that its hash names all that matters.

    Raises:
        ValueError: an unknown or wrong key, at any depth.
    """
    recipe: Recipe = validate(Recipe, raw, "recipe")
    return recipe.model_copy(update={"source": _resolve_source(recipe.source, recipe.seed)})


def make_line(job: Job, expert_factory: ExpertFactory = make_expert) -> Line:
    """Build the source and the stages of a resolved recipe and check that they fit together.

    Raises:
        ValueError: the source cannot be listed, an expert or option is unknown, or the plan does not hold.
    """
    recipe = job.recipe
    stages = _stages(recipe, expert_factory)
    options = _absolute(recipe.source, job.base)
    module = source_module(options.pop("kind"))
    source = module.make(module.Config.model_validate(options), recipe.image_format)
    check_plan(source.fills, stages)
    return Line(recipe=recipe, source=source, stages=stages, hash=recipe_hash(recipe))


def run_unit(line: Line, unit: Unit, root: Path, poison: Collection[int] = ()) -> Receipt:
    """Carry the inputs of a unit down the line and commit them: rejects, then the shard, then the receipt.

    `poison` are inputs known to kill their worker; they are quarantined without being touched.

    Raises:
        OSError: the output folder is full or cannot be written.
    """
    walked, turned_away = walk(line, unit, poison)
    recipe = line.recipe
    finished: list[Sample] = []
    encoded: list[list[tuple[str, bytes]]] = []
    for sample in walked:
        try:
            encoded.append(encode_sample(sample, recipe.image_format))
            finished.append(sample)
        except ValueError as error:  # e.g. an expert gave NaN where the format wants a number
            turned_away.append(_quarantine(sample.id, f"codec: {_say(error)}"))
    if turned_away:
        lines = [
            json.dumps(
                {
                    "sample_id": r.sample_id,
                    "stage": r.stage,
                    "reason": r.reason,
                    "detail": r.detail,
                },
                ensure_ascii=False,
            )
            for r in turned_away
        ]
        path = root / "rejects" / f"{recipe.split}-{unit.index:06d}.jsonl"
        write_atomic(path, "".join(text + "\n" for text in lines).encode())
    shard = shard_name(recipe.split, unit.index) if finished else ""
    sha256, size, offsets = "", 0, {}
    if finished:
        with ShardWriter(root / shard) as writer:
            for sample, members in zip(finished, encoded, strict=True):
                writer.write(sample.id, members)
        assert writer.stat is not None
        sha256, size, offsets = writer.stat.sha256, writer.stat.size, dict(writer.stat.offsets)
    rejected = Counter(f"{r.stage}/{r.reason}" for r in turned_away if r.stage != QUARANTINE)
    receipt = Receipt(
        unit=unit.index,
        shard=shard,
        sha256=sha256,
        size=size,
        recipe_hash=line.hash,
        inputs=unit.stop - unit.start,
        committed=len(finished),
        rejected=dict(sorted(rejected.items())),
        quarantined=sum(r.stage == QUARANTINE for r in turned_away),
        gold=sum(s.gold is not None and s.gold_role == "train" for s in finished),
        licences=dict(sorted(Counter(s.source.licence for s in finished).items())),
        faults=dict(
            sorted(Counter(f.partition(":")[0] for s in finished for f in s.faults).items())
        ),
        offsets=offsets,
        versions=versions(),
    )
    receipt.check()
    write_json(receipt_path(root, recipe.split, unit.index), receipt)
    return receipt


def walk(line: Line, unit: Unit, poison: Collection[int] = ()) -> tuple[list[Sample], list[Reject]]:
    """The finished samples of a unit, in input order, and those turned away, in the order it happened."""
    samples: list[Sample] = []
    turned_away: list[Reject] = []
    for index in range(unit.start, unit.stop):
        if index in poison:
            turned_away.append(_quarantine(f"input-{index}", "killed its worker three times"))
            continue
        try:
            item = line.source.load(index)
        except Exception as error:
            turned_away.append(_quarantine(f"input-{index}", f"source: {_say(error)}"))
            continue
        (turned_away if isinstance(item, Reject) else samples).append(item)  # type: ignore[arg-type]
    images = UnitImages()
    for stage in line.stages:
        kept: list[Sample] = []
        for item in _apply(stage, samples, images):
            (turned_away if isinstance(item, Reject) else kept).append(item)  # type: ignore[arg-type]
        samples = kept
    return samples, turned_away


def versions() -> dict[str, str]:
    """Versions of what decides the bytes of a shard."""
    names = ("maskmix", "numpy", "opencv-python-headless", "pycocotools", "scikit-image")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def _apply(stage: Stage, samples: Sequence[Sample], images: UnitImages) -> list[Sample | Reject]:
    if not samples:
        return []
    try:
        done = stage(samples, images)
    except Exception:
        done = [_apply_alone(stage, sample, images) for sample in samples]
    got = [item.sample_id if isinstance(item, Reject) else item.id for item in done]
    assert got == [s.id for s in samples], f"stage {stage.name!r} lost, added or reordered samples"
    return done


def _apply_alone(stage: Stage, sample: Sample, images: UnitImages) -> Sample | Reject:
    try:
        return stage([sample], images)[0]
    except Exception as error:
        return _quarantine(sample.id, f"{stage.name}: {_say(error)}")


def _quarantine(sample_id: str, detail: str) -> Reject:
    return Reject(sample_id=sample_id, stage=QUARANTINE, reason="error", detail=detail)


def _say(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:500]


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


def _stages(recipe: Recipe, expert_factory: ExpertFactory) -> tuple[Stage, ...]:
    from pipeline.stages.fuse import Fuse
    from pipeline.stages.ground import Ground
    from pipeline.stages.keep import Keep
    from pipeline.stages.rewrite import Rewrite
    from pipeline.stages.score import Score
    from pipeline.stages.segment import Segment

    def panel(stage: str, uses: Sequence[ExpertUse], *roles: type) -> list[Any]:
        experts = [expert_factory(use.use, use.options) for use in uses]
        for use, expert in zip(uses, experts, strict=True):
            if not isinstance(expert, roles):
                names = " or ".join(role.__name__ for role in roles)
                raise ValueError(
                    f"stage {stage!r}: expert {use.use!r} is no {names}; move it to the stage it fits"
                )
        return experts

    config = recipe.stages
    stages: list[Stage] = []
    voters = 0
    if config.rewrite:
        rewriters = panel("rewrite", config.rewrite.experts, Rewriter)
        stages.append(Rewrite(rewriters, keep_raw=config.rewrite.keep_raw))
    if config.ground:
        grounders = panel("ground", config.ground.experts, Grounder)
        stages.append(Ground(grounders))
        voters += len(grounders)
    if config.segment:
        segmenters = panel("segment", config.segment.experts, Segmenter, TextSegmenter)
        stages.append(Segment(segmenters))
        voters += sum(
            isinstance(s, TextSegmenter) and not isinstance(s, Segmenter) for s in segmenters
        )
    if config.fuse:
        stages.append(Fuse(config.fuse))
    if config.score:
        stages.append(Score(config.score, panel_size=max(1, voters)))
    if config.keep:
        stages.append(Keep(config.keep, scored=config.score is not None))
    return tuple(stages)
