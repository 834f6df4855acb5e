"""Little image files on disk, and what a source makes of them."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.records import Reject, Sample
from pipeline.source import Source

SIZE = (20, 30)
"""Height, width of `save_image`."""


def save_image(path: Path, *, seed: int = 0, **options: Any) -> Path:
    """A smooth picture of SIZE; its suffix says the format."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(coarse).resize(SIZE[::-1]).save(path, **options)
    return path


def load_all(source: Source) -> list[Sample | Reject]:
    """Every input of a source, loaded in order."""
    return [source.load(index) for index in range(len(source))]


def reasons(source: Source) -> list[str]:
    """Per input the reason of its reject, "" for a sample."""
    loaded = load_all(source)
    assert all(item.stage == "source" for item in loaded if isinstance(item, Reject))
    ids = [item.sample_id if isinstance(item, Reject) else item.id for item in loaded]
    assert len(set(ids)) == len(ids), "an id stands twice"
    return [item.reason if isinstance(item, Reject) else "" for item in loaded]


def the_sample(source: Source, index: int = 0) -> Sample:
    """The input at `index`, which must be a sample."""
    item = source.load(index)
    assert isinstance(item, Sample), item
    return item
