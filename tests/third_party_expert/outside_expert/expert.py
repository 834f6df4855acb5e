"""The expert's side: starts the worker at its first call, speaks JSON lines with it, and starts it again when it dies.

This is how a model whose dependencies conflict with maskmix's is used: `python` is the interpreter of the environment
that the model is installed in, and only the text of `worker.py` goes there. A row whose worker died, raised or took
too long is answered with the exception; it costs that row's vote and nothing else.
"""

import base64
import contextlib
import json
import queue
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from annotators.candidate import Candidate, Provenance
from annotators.masks import encode_mask
from annotators.phrase import Phrase
from annotators.protocols import Image
from annotators.registry import config_hash

WORKER = Path(__file__).with_name("worker.py")


class OutsideExpert:
    """What differs most from the mean colour, found by a process of its own.

    Args:
        python: interpreter that runs the worker; "" is the one that runs this.
        timeout: seconds that the worker may take for one picture.
    """

    name = "outside"

    def __init__(self, *, python: str = "", timeout: float = 60.0) -> None:
        self.python, self.timeout = python or sys.executable, timeout
        self.config_hash = config_hash(self.name, {"python": python})
        self._worker: _Worker | None = None

    def segment_text(
        self, images: Sequence[Image], phrases: Sequence[Sequence[Phrase]]
    ) -> list[list[Candidate] | Exception]:
        return [self._one(image, row) for image, row in zip(images, phrases, strict=True)]

    def close(self) -> None:
        """End the worker; the next call starts another. It also ends with this object, and with this process."""
        if self._worker is not None:
            self._worker.end()
            self._worker = None

    def _one(self, image: Image, phrases: Sequence[Phrase]) -> list[Candidate] | Exception:
        if not phrases:
            return []
        height, width = image.shape[:2]
        asked = {
            "size_hw": [height, width],
            "rgb": base64.b64encode(np.ascontiguousarray(image).tobytes()).decode(),
            "texts": [phrase.text for phrase in phrases],
        }
        if self._worker is None:
            self._worker = _Worker([self.python, str(WORKER)])
        try:
            told = self._worker.ask(asked, self.timeout)
        except OSError as error:
            self.close()
            return error
        if "error" in told:
            return RuntimeError(told["error"])
        if told["mask"] is None:
            return []
        bits = np.frombuffer(told["mask"].encode(), np.uint8) == ord("1")
        made_by = Provenance(
            expert=self.name, score_raw=told["score"], config_hash=self.config_hash
        )
        return [
            Candidate(
                mask=encode_mask(bits.reshape(height, width)),
                phrase=0,
                proposal=None,
                mask_score=told["score"],
                stability=1.0,
                made_by=made_by,
            )
        ]


class _Worker:
    """One process and the thread that reads its answers, so that waiting for one can end."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        self.lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        reader = threading.Thread(target=_read, args=(self.process.stdout, self.lines), daemon=True)
        reader.start()
        self.end = weakref.finalize(self, _end, self.process, reader)

    def ask(self, asked: dict[str, Any], timeout: float) -> dict[str, Any]:
        """The answer to one line.

        Raises:
            OSError: the worker died or took too long; it is of no more use.
        """
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(asked) + "\n")
            self.process.stdin.flush()
            line = self.lines.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError(f"the worker took longer than {timeout} s") from None
        except OSError as error:
            raise ConnectionError(f"the worker is gone ({error})") from error
        if not line:
            raise ConnectionError(f"the worker died with status {self.process.wait()}")
        return json.loads(line)


def _read(stream: Any, lines: "queue.SimpleQueue[str]") -> None:
    with stream:
        for line in stream:
            lines.put(line)
    lines.put("")


def _end(process: "subprocess.Popen[str]", reader: threading.Thread) -> None:
    """Close its input, which ends it; kill it when it does not listen."""
    with contextlib.suppress(OSError):
        process.stdin.close()  # type: ignore[union-attr]
    try:
        process.wait(timeout=2)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    reader.join()
