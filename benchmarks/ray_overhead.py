"""What Ray costs a build: CPU-seconds of all its processes, against the same build in one process.

Run: python -m benchmarks.ray_overhead (about 60 s). Target at most 1 ms of CPU a sample. Starting Ray and its workers
takes the same time for 100 samples as for a million, so two sizes are built by turns on both sides and the cost of a
sample is the slope between them; the constant part is printed beside it. Both must give the same bytes.
"""

import hashlib
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2

from benchmarks.made_samples import picture
from benchmarks.process_tree import TreeClock
from benchmarks.ratio import require, run, say
from pipeline.build import build
from pipeline.executors.local import run_local
from pipeline.executors.ray import run_on_ray
from pipeline.line import Job, resolve

SMALL, LARGE, UNIT = 128, 1024, 32
ROUNDS = 5
WORKERS = 2
TARGET_MS = 1.0


def measure() -> bool:
    """The slope of CPU over samples, with Ray less without."""
    require("ray")
    import ray

    with tempfile.TemporaryDirectory() as name, TreeClock() as clock:
        folder = Path(name)
        items = _draw(folder, LARGE)
        ray.init(
            num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, logging_level="warning"
        )
        try:
            load = [os.getloadavg()[0]]
            slopes, starts, local = [], [], []
            for number in range(-1, ROUNDS):
                spent = {
                    (where, count): _build(clock, folder, items, where, count)
                    for count in (SMALL, LARGE)
                    for where in (("local", "ray") if number % 2 else ("ray", "local"))
                }
                assert _trees_equal(folder), "local and Ray built different bytes"
                if number < 0:
                    continue
                extra = {c: spent["ray", c] - spent["local", c] for c in (SMALL, LARGE)}
                slope = (extra[LARGE] - extra[SMALL]) / (LARGE - SMALL)
                slopes.append(1000 * slope)
                starts.append(extra[SMALL] - slope * SMALL)
                local.append(1000 * spent["local", LARGE] / LARGE)
            load.append(os.getloadavg()[0])
        finally:
            ray.shutdown()
    reached = statistics.median(slopes) <= TARGET_MS
    say(
        f"build {SMALL} and {LARGE} samples on ray {ray.__version__}, {WORKERS} workers, against one process"
    )
    say(f"  extra CPU a sample {_spread(slopes)} ms   (min, median, max of {ROUNDS})")
    say(f"  extra CPU a build  {_spread(starts)} s, whatever its size")
    say(f"  the build itself   {_spread(local)} ms of CPU a sample")
    say(f"  bytes equal in all rounds; load average {load[0]:.1f} -> {load[1]:.1f}")
    say(f"  target {TARGET_MS:g} ms: {'reached' if reached else 'MISSED'}")
    return reached


def _build(clock: TreeClock, folder: Path, items: Path, where: str, count: int) -> float:
    root = folder / f"{where}-{count}"
    shutil.rmtree(root, ignore_errors=True)
    recipe = resolve({
        "name": "overhead", "unit_size": UNIT, "limit": count,
        "source": {"kind": "jsonl", "path": str(items)},
        "stages": {
            "rewrite": {"experts": [{"use": "fake_rewriter"}]},
            "segment": {"experts": [{"use": "fake_text_segmenter"}]},
            "fuse": {"rule": "vote"},
        },
    })  # fmt: skip
    job = Job(recipe=recipe, root=root, base=folder)
    before = clock.seconds()
    build(job, _ray if where == "ray" else run_local)
    time.sleep(0.2)  # let the workers end, and be counted to their end
    return clock.seconds() - before


def _ray(job: Job, units: Any) -> Iterator[Any]:
    yield from run_on_ray(job, units, workers=WORKERS)


def _draw(folder: Path, count: int) -> Path:
    """One small photograph, and a line each for `count` instructions about it."""
    small = cv2.resize(picture(0)[0], (96, 72), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(folder / "photo.jpg"), small)
    lines = [
        {"image": "photo.jpg", "instruction": f"take shape number {n}", "id": f"s-{n:05d}"}
        for n in range(count)
    ]
    path = folder / "items.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def _trees_equal(folder: Path) -> bool:
    def content(root: Path) -> dict[str, str]:
        return {
            str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for part in ("shards", "receipts", "rejects", "index")
            for path in sorted((root / part).iterdir())
        }

    return all(
        content(folder / f"local-{c}") == content(folder / f"ray-{c}") != {} for c in (SMALL, LARGE)
    )


def _spread(values: list[float]) -> str:
    return f"{min(values):6.2f} {statistics.median(values):6.2f} {max(values):6.2f}"


if __name__ == "__main__":
    run(measure)
