"""One unit of a batch prediction: its inputs answered, written and committed by a receipt. No Ray in here.

A unit is written under temporary names and renamed; its receipt comes last, and without one the unit is done again. It
depends on the job and its own inputs alone, so that the files are the same bytes wherever it runs. Who answers is made
by `Job.make`: anything with `predict_batch` and a model's threshold will do.
"""

import hashlib
import io
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from annotators.masks import encode_mask
from pipeline.shards import temporary_name, write_atomic
from trainer.use.asked import Loaded, Question, TurnedAway, Unit, load_unit
from trainer.use.effects import Effect, apply_effect

AT_ONCE = 8
"""Photographs that are in memory together."""
ROWS = pa.schema(
    [
        ("id", pa.string()),
        ("image", pa.string()),  # path in the folder, or the sample's key at its source
        ("instruction", pa.string()),
        ("height", pa.int32()),  # of the photograph, px
        ("width", pa.int32()),
        ("counts", pa.string()),  # COCO RLE of the pixels whose probability reaches the threshold
        ("area", pa.int64()),  # how many these are
        ("p_max", pa.float32()),  # largest probability of a pixel
        ("file", pa.string()),  # PNG under the output folder: round(255 p), or the image shown
        ("x1", pa.int32()),  # box of what the file shows of the photograph, px
        ("y1", pa.int32()),
        ("x2", pa.int32()),
        ("y2", pa.int32()),
        ("failed_open", pa.bool_()),  # nothing was above the threshold, so all is shown
        ("image_sha256", pa.string()),  # of the bytes as received
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is done to every unit. `threshold` None is the model's own; without `effect` masks are written.

    `plan` is the hash of all that decides the bytes; `make` gives the predictor, once in each process.
    """

    model: str
    revision: str | None
    device: str
    base: Path
    out: Path
    threshold: float | None
    effect: Effect | None
    crop: bool
    plan: str
    make: Callable[["Job"], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The commit of one unit; `inputs == predicted + sum(rejected)`."""

    unit: int
    plan: str
    inputs: int
    predicted: int
    rejected: dict[str, int]
    index_sha256: str

    def check(self) -> None:
        """Raise ValueError when the counts do not add up."""
        turned = sum(self.rejected.values())
        if self.inputs != self.predicted + turned:
            raise ValueError(
                f"unit {self.unit}: {self.inputs} inputs but {self.predicted} predicted + {turned} rejected; the "
                "receipt is wrong: delete it and run the same command again"
            )


def pictures_folder(job: Job) -> str:
    """What the folder of the PNG files is called."""
    return "shown" if job.effect else "masks"


def run_unit(predictor: Any, job: Job, unit: Unit, poison: Collection[int] = ()) -> Receipt:
    """Answer the inputs of a unit and commit them: pictures, index, rejects, then the receipt.

    `poison` are numbers of inputs known to kill their process; they are rejected without being touched.

    Raises:
        ValueError: a shard is damaged, or the model is.
        OSError: the output folder is full or cannot be written.
    """
    name = f"{unit.index:06d}"
    pictures = job.out / pictures_folder(job) / name
    draft = temporary_name(pictures)
    draft.mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    turned_away: list[TurnedAway] = []
    try:
        waiting: list[Loaded] = []
        for item in _loaded(job, unit, poison, turned_away):
            waiting.append(item)
            if len(waiting) == AT_ONCE:
                rows += _answer(predictor, job, waiting, draft, turned_away)
                waiting = []
        rows += _answer(predictor, job, waiting, draft, turned_away)
        _refuse_a_broken_model(rows, turned_away)
        for row in rows:
            row["file"] = f"{pictures_folder(job)}/{name}/{row['id']}.png"
        shutil.rmtree(pictures, ignore_errors=True)  # of a run that died before its receipt
        os.replace(draft, pictures)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=ROWS), buffer)
    write_atomic(job.out / "index" / f"{name}.parquet", buffer.getvalue())
    turned_away.sort(key=lambda item: item.number)
    lines = [
        json.dumps(
            {
                "id": item.question.id,
                "image": item.question.image.encode("utf-8", "backslashreplace").decode(),
                "instruction": item.question.instruction.encode("utf-8", "backslashreplace").decode(),
                "reason": item.reason,
                "detail": item.detail,
            },
            ensure_ascii=False,
        )
        for item in turned_away
    ]  # fmt: skip
    write_atomic(job.out / "rejects" / f"{name}.jsonl", "".join(f"{x}\n" for x in lines).encode())
    receipt = Receipt(
        unit=unit.index,
        plan=job.plan,
        inputs=unit.count,
        predicted=len(rows),
        rejected=dict(sorted(Counter(item.reason for item in turned_away).items())),
        index_sha256=hashlib.sha256(buffer.getvalue()).hexdigest(),
    )
    receipt.check()
    write_atomic(receipt_path(job.out, unit.index), _json(receipt))
    return receipt


def probe(predictor: Any, job: Job, unit: Unit, number: int) -> None:
    """Answer one input and write nothing: dies if the input kills."""
    for item in load_unit(job.base, unit, [number]):
        if isinstance(item, Loaded):
            _probabilities(predictor, [item], [])


def receipt_path(out: Path, index: int) -> Path:
    """Where the receipt of a unit lies."""
    return out / "receipts" / f"{index:06d}.json"


def read_receipt(out: Path, unit: Unit, plan: str) -> Receipt | None:
    """The receipt of a unit that was committed; None when it was not.

    Raises:
        ValueError: it is damaged, or of another plan.
    """
    path = receipt_path(out, unit.index)
    if not path.exists():
        return None
    try:
        facts = json.loads(path.read_bytes())
        receipt = Receipt(**facts)
        receipt.check()
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{path} is damaged ({error}); delete it and run the same command again"
        ) from error
    if receipt.plan != plan or receipt.inputs != unit.count:
        raise ValueError(f"{path} is of another prediction; choose another output folder")
    return receipt


def _json(receipt: Receipt) -> bytes:
    facts = {name: getattr(receipt, name) for name in Receipt.__slots__}
    return json.dumps(facts, indent=1, sort_keys=True).encode() + b"\n"


def _loaded(
    job: Job, unit: Unit, poison: Collection[int], turned_away: list[TurnedAway]
) -> Iterator[Loaded]:
    """The inputs that can be answered; the others are added to `turned_away`."""
    numbers = range(unit.first, unit.first + unit.count)
    for item in load_unit(job.base, unit, [n for n in numbers if n not in poison]):
        if isinstance(item, TurnedAway):
            turned_away.append(item)
        else:
            yield item
    named = dict(zip(numbers, unit.questions, strict=False))
    for number in sorted(poison):
        nameless = Question(id=f"input-{number}", image="", instruction="")
        turned_away.append(
            TurnedAway(
                number=number,
                question=named.get(number, nameless),
                reason="killed-its-process",
                detail="the process died each time this input was answered",
            )
        )


def _refuse_a_broken_model(rows: Sequence[Any], turned_away: Sequence[TurnedAway]) -> None:
    """Photographs are not rejected wholesale over a model that answers none."""
    failed = [item for item in turned_away if item.reason == "prediction-failed"]
    if len(failed) > 1 and not rows:
        raise RuntimeError(
            f"the model answered none of {len(failed)} photographs: {failed[0].detail}"
        )


def _answer(
    predictor: Any,
    job: Job,
    items: Sequence[Loaded],
    folder: Path,
    turned_away: list[TurnedAway],
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    threshold = predictor.model.threshold if job.threshold is None else job.threshold
    for item, p in _probabilities(predictor, items, turned_away):
        height, width = p.shape
        box, failed_open = (0, 0, width, height), False
        if job.effect is None:
            picture = np.rint(255 * p).astype(np.uint8)
        else:
            shown = apply_effect(
                item.image, p, effect=job.effect, threshold=threshold, crop=job.crop
            )
            failed_open = shown.failed_open
            box = shown.box if job.crop else box
            picture = np.asarray(cv2.cvtColor(shown.image, cv2.COLOR_RGB2BGR))
        done, data = cv2.imencode(".png", picture)
        assert done, picture.shape
        with open(folder / f"{item.question.id}.png", "xb") as file:
            file.write(data.tobytes())
            file.flush()
            os.fsync(file.fileno())
        above = p >= threshold
        rows.append(
            {
                "id": item.question.id,
                "image": item.question.image.encode("utf-8", "backslashreplace").decode(),
                "instruction": item.question.instruction,
                "height": height,
                "width": width,
                "counts": encode_mask(above).counts,
                "area": int(above.sum()),
                "p_max": float(p.max()),
                **dict(zip(("x1", "y1", "x2", "y2"), box, strict=True)),
                "failed_open": failed_open,
                "image_sha256": item.image_sha256,
            }
        )
    return rows


def _probabilities(
    predictor: Any, items: Sequence[Loaded], turned_away: list[TurnedAway]
) -> list[tuple[Loaded, NDArray[np.float32]]]:
    """Answers to the inputs that have one; when a batch raises they are asked one by one."""
    if not items:
        return []
    try:
        images, texts = [i.image for i in items], [i.question.instruction for i in items]
        return list(zip(items, predictor.predict_batch(images, texts), strict=True))
    except Exception as error:  # whatever a model raises on one photograph costs that photograph
        if len(items) > 1:
            each = [_probabilities(predictor, [item], turned_away) for item in items]
            return [pair for pairs in each for pair in pairs]
        detail = f"{type(error).__name__}: {error}"[:500]
        item = items[0]
        turned_away.append(
            TurnedAway(
                number=item.number,
                question=item.question,
                reason="prediction-failed",
                detail=detail,
            )
        )
        return []
