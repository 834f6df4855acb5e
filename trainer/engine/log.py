"""What a run says about itself while it trains: log.jsonl, TensorBoard event files, a line on standard error.

Nothing here is asked for between log intervals, since reading a number of the device makes the host wait for it. Only
here is the time known. log.jsonl of a run that was stopped and continued is that of one that was not, apart from the
speed: lines of steps after the checkpoint are dropped and walked again.
"""

import json
import math
import multiprocessing
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from pipeline.shards import write_atomic
from trainer.engine.config import RunConfig

LOG_FILE = "log.jsonl"
TENSORBOARD = "tensorboard"


class Journal:
    """Writes the numbers of a step wherever they go; only the leading process has a folder.

    Args:
        folder: of the run; None writes no file.
        start: steps already done.
        steps: of the whole training.
        run: what is wanted.
        stream: where progress goes; standard error when None.
    """

    def __init__(
        self,
        folder: Path | None,
        *,
        start: int,
        steps: int,
        run: RunConfig,
        stream: TextIO | None = None,
    ) -> None:
        self._steps = steps
        self._log = None if folder is None else folder / LOG_FILE
        if self._log is not None:
            _cut(self._log, start)
        self._events = None
        if run.tensorboard and folder is not None:
            self._events = _event_writer(folder / TENSORBOARD, start)
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty() and multiprocessing.parent_process() is None
        self._shows = folder is not None and (
            self._terminal if run.progress is None else run.progress
        )
        self._since, self._step, self._samples = time.perf_counter(), start, 0

    def count(self, samples: int) -> None:
        """Note that so many samples were trained on."""
        self._samples += samples

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Write the numbers after `step` steps, and how fast it goes since the last time."""
        seconds = max(1e-9, time.perf_counter() - self._since)
        rate = self._samples / seconds
        left = (self._steps - step) * seconds / max(1, step - self._step)
        self._since, self._step, self._samples = time.perf_counter(), step, 0
        if self._log is not None:
            line = {"step": step} | {key: _shown(value) for key, value in numbers.items()}
            line["samples_per_s"] = round(rate, 1)
            with open(self._log, "a") as log:
                log.write(json.dumps(line) + "\n")
        if self._events is not None:
            for key, value in {**numbers, "samples_per_s": rate}.items():
                self._events.add_scalar(key, value, step)
        if self._shows:
            text = progress_line(step, self._steps, numbers, rate=rate, left=left)
            self._stream.write(f"\r\x1b[2K{text}" if self._terminal else text + "\n")
            self._stream.flush()

    def close(self) -> None:
        """Write out what is buffered, and end the line on a terminal."""
        if self._events is not None:
            self._events.close()
        if self._shows and self._terminal:
            self._stream.write("\n")
            self._stream.flush()


def progress_line(
    step: int, steps: int, numbers: Mapping[str, float], *, rate: float, left: float
) -> str:
    """One line for people.

    >>> progress_line(250, 1000, {"loss": 0.5, "bce": 0.2, "weight_mean": 1.0, "bad_steps": 0}, rate=81.2, left=3700)
    'step 250/1000 (25 %)  loss 0.5000  bce 0.2000  weight_mean 1.0000  81.2 samples/s  1:01:40 left'
    """
    hidden = ("lr", "grad_norm", "bad_steps")
    words = [f"step {step}/{steps} ({100 * step // steps} %)"]
    words += [f"{key} {value:.4f}" for key, value in numbers.items() if key not in hidden]
    if numbers.get("bad_steps"):
        words.append(f"{numbers['bad_steps']:.0f} skipped")
    hours, rest = divmod(round(left), 3600)
    words += [f"{rate:.1f} samples/s", f"{hours}:{rest // 60:02}:{rest % 60:02} left"]
    return "  ".join(words)


def _event_writer(folder: Path, start: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ValueError(
            'run.tensorboard needs the package tensorboard: pip install "maskmix[models]"'
        ) from error
    return SummaryWriter(str(folder), purge_step=start + 1 if start else None)


def _cut(path: Path, step: int) -> None:
    """Drop log lines of steps after `step`: they will be walked again."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, KeyError):
            continue  # a line cut by a kill
    write_atomic(path, "".join(kept).encode())


def _shown(value: float) -> float | None:
    return value if math.isfinite(value) else None
