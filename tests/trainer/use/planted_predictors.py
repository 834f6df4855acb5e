"""Predictors that misbehave on request, real in every other way; importable by the workers of a cluster."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from trainer.use.answers import Job


@dataclass
class Bright:
    """Bright pixels are relevant; "die" in an instruction takes the process down, "raise" raises, "slow" waits."""

    model: Any
    out: Path

    def predict_batch(
        self, images: Sequence[np.ndarray], instructions: Sequence[str]
    ) -> list[np.ndarray]:
        for text in instructions:
            if "die" in text:
                os._exit(1)
            if "raise" in text:
                raise RuntimeError("cannot see that")
            if "slow" in text:
                time.sleep(0.2)
        return [image.mean(2).astype(np.float32) / 255 for image in images]


def bright(job: Job) -> Bright:
    return Bright(model=SimpleNamespace(threshold=0.5), out=job.out)
