"""Experts whose skill is planted: they see a red ball, and say what their options make of it."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from annotators.candidate import Candidate, Provenance
from annotators.masks import encode_mask
from annotators.phrase import Phrase
from annotators.registry import config_hash

SIZE = (48, 64)


class PlantedExpert:
    """Marks the ball shifted by up to two pixels (`lost=False`), or a rectangle anywhere (`lost=True`)."""

    name = "planted"

    def __init__(self, *, seed: int, lost: bool = False, abstain: float = 0.0) -> None:
        self.seed, self.lost, self.abstain = seed, lost, abstain
        options = {"seed": seed, "lost": lost, "abstain": abstain}
        self.made_by = Provenance(
            expert=self.name, config_hash=config_hash(self.name, options), score_raw=0.5
        )

    def segment_text(
        self, images: Sequence[NDArray[np.uint8]], phrases: Sequence[Sequence[Phrase]]
    ) -> list[list[Candidate]]:
        return [self._one(image) for image in images]

    def _one(self, image: NDArray[np.uint8]) -> list[Candidate]:
        text = f"{self.seed}:{hashlib.sha256(image.tobytes()).hexdigest()}"
        rng = np.random.default_rng(list(hashlib.sha256(text.encode()).digest()))
        if rng.random() < self.abstain:
            return []
        dy, dx = rng.integers(-2, 3, 2)
        mask = np.roll(ball(image), (int(dy), int(dx)), (0, 1))
        if self.lost:
            y, x = int(rng.integers(0, SIZE[0] - 20)), int(rng.integers(0, SIZE[1] - 24))
            mask = np.zeros(SIZE, bool)
            mask[y : y + 20, x : x + 24] = True
        return [
            Candidate(
                mask=encode_mask(mask), phrase=0, proposal=None, mask_score=0.5, stability=0.5,
                made_by=self.made_by,
            )
        ]  # fmt: skip


def ball(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where an RGB picture is pure red."""
    return (image == (255, 0, 0)).all(axis=2)


def draw_balls(folder: Path, count: int, *, gold: bool = True) -> Path:
    """`count` pictures of one red ball on dim noise, each with its gold mask and one of two styles, as items.jsonl."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(7)
    lines: list[dict[str, Any]] = []
    for number in range(count):
        picture = rng.integers(0, 200, (*SIZE, 3), np.uint8)
        centre = (int(rng.integers(12, SIZE[1] - 12)), int(rng.integers(12, SIZE[0] - 12)))
        cv2.circle(picture, centre, 9, (0, 0, 255), -1)
        cv2.imwrite(str(folder / f"{number}.png"), picture)
        coded = encode_mask(ball(picture[:, :, ::-1]))
        line: dict[str, Any] = {
            "image": f"{number}.png", "instruction": "pick up the red ball", "id": f"b-{number:04d}",
            "style": "command" if number % 4 else "phrase",
        }  # fmt: skip
        if gold:
            line["rle"] = {"size": list(SIZE), "counts": coded.counts}
        lines.append(line)
    path = folder / "items.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def planted_recipe(items: Path) -> dict[str, Any]:
    """Two experts that find the ball but abstain on most pictures, and two lost ones that always speak."""
    experts = [
        {"seed": 1, "abstain": 0.3},
        {"seed": 2, "abstain": 0.6},
        {"seed": 3, "lost": True},
        {"seed": 4, "lost": True},
    ]
    return {
        "name": "planted",
        "unit_size": 16,
        "image_format": "png",
        "source": {"kind": "jsonl", "path": str(items), "gold_fraction": 0.0},
        "stages": {
            "rewrite": {"experts": [{"use": "fake_rewriter"}]},
            "segment": {"experts": [{"use": "planted", "options": o} for o in experts]},
            "fuse": {"rule": "staple"},
            "score": {},
            "keep": {"empty": "keep"},
        },
    }
