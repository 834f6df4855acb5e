"""One unit: source -> stages -> shard -> receipt. No Ray in here, and nothing that depends on where it runs.

A unit depends on (recipe, unit index) alone, so a retry, another order or another number of workers gives the same
bytes. What raises is charged to the sample that raised: it is quarantined, and the unit goes on.
"""

import json
import platform
from collections import Counter
from collections.abc import Collection, Sequence
from importlib.metadata import version
from pathlib import Path

from annotators.halt import Halt
from pipeline.codec import encode_sample
from pipeline.intake.images import UnitImages
from pipeline.line import Line, Unit
from pipeline.manifest import PanelEntry, Receipt, receipt_path, shard_name, write_json
from pipeline.panel_seats import weights_versions
from pipeline.panel_usage import write_usage
from pipeline.records import Reject, Sample
from pipeline.shards import ShardWriter, write_atomic
from pipeline.stage import Stage

QUARANTINE = "quarantine"


def run_unit(line: Line, unit: Unit, root: Path, poison: Collection[int] = ()) -> Receipt:
    """Carry the inputs of a unit down the line and commit them: rejects, then the shard, then the receipt.

    `poison` are inputs known to kill their worker; they are quarantined without being touched.

    Raises:
        Halt: the build must stop; nothing of this unit is committed.
        OSError: the output folder is full or cannot be written.
    """
    walked, turned_away = walk(line, unit, poison)
    usage = [seat.tally.take() for seat in line.seats]
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
        versions=versions(line.panel),
    )
    receipt.check()
    write_usage(root, recipe.split, unit.index, usage)
    write_json(receipt_path(root, recipe.split, unit.index), receipt)
    return receipt


def walk(line: Line, unit: Unit, poison: Collection[int] = ()) -> tuple[list[Sample], list[Reject]]:
    """The finished samples of a unit, in input order, and those turned away, in the order it happened.

    Raises:
        Halt: an expert says that the build must stop.
    """
    for seat in line.seats:
        seat.tally.take()  # what an earlier walk left that nobody wrote down
    samples: list[Sample] = []
    turned_away: list[Reject] = []
    for index in range(unit.start, unit.stop):
        if index in poison:
            turned_away.append(_quarantine(f"input-{index}", "killed its worker three times"))
            continue
        try:
            item = line.source.load(index)
        except Halt:
            raise
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


def versions(panel: Sequence[PanelEntry]) -> dict[str, str]:
    """Versions of what decides the bytes of a shard that this panel makes."""
    names = ("maskmix", "numpy", "opencv-python-headless", "pycocotools", "scikit-image")
    own = {"python": platform.python_version(), **{name: version(name) for name in names}}
    return {**own, **weights_versions(panel)}


def _apply(stage: Stage, samples: Sequence[Sample], images: UnitImages) -> list[Sample | Reject]:
    if not samples:
        return []
    try:
        done = stage(samples, images)
    except Halt:
        raise
    except Exception:
        done = [_apply_alone(stage, sample, images) for sample in samples]
    got = [item.sample_id if isinstance(item, Reject) else item.id for item in done]
    assert got == [s.id for s in samples], f"stage {stage.name!r} lost, added or reordered samples"
    return done


def _apply_alone(stage: Stage, sample: Sample, images: UnitImages) -> Sample | Reject:
    try:
        return stage([sample], images)[0]
    except Halt:
        raise
    except Exception as error:
        return _quarantine(sample.id, f"{stage.name}: {_say(error)}")


def _quarantine(sample_id: str, detail: str) -> Reject:
    return Reject(sample_id=sample_id, stage=QUARANTINE, reason="error", detail=detail)


def _say(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:500]
