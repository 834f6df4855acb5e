"""Tiny real builds for the tests of whole lines: drawn photographs, fake experts, a tree to compare."""

import hashlib
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipeline.line import Job, resolve

TREE = ("shards", "receipts", "rejects", "index")


def draw_items(folder: Path, count: int, texts: dict[int, str] | None = None) -> Path:
    """`count` 48x64 pictures of a ball on noise with one line each in items.jsonl; `texts` replaces instructions."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    lines = []
    for number in range(count):
        noise = rng.integers(0, 255, (48, 64, 3), np.uint8)
        picture = np.ascontiguousarray(cv2.GaussianBlur(noise, (9, 9), 0))
        cv2.circle(picture, (20 + number % 20, 24), 10, (0, 0, 255), -1)
        cv2.imwrite(str(folder / f"{number}.png"), picture)
        text = (texts or {}).get(number, "pick up the red ball" if number % 3 else "the red ball")
        lines.append({"image": f"{number}.png", "instruction": text, "id": f"s-{number:04d}"})
    path = folder / "items.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def recipe(items: Path, **faulty: Any) -> dict[str, Any]:
    """A recipe over drawn items with a panel of three fakes; `faulty` are options of the faulty one."""
    return {
        "name": "tiny",
        "unit_size": 4,
        "source": {"kind": "jsonl", "path": str(items)},
        "stages": {
            "rewrite": {"experts": [{"use": "fake_rewriter"}]},
            "ground": {"experts": [{"use": "fake_grounder", "options": {"boxes": 2}}]},
            "segment": {
                "experts": [
                    {"use": "fake_segmenter"},
                    {"use": "fake_text_segmenter"},
                    {"use": "fake_faulty", "options": faulty},
                ]
            },
            "fuse": {"rule": "vote"},
            "score": {},
            "keep": {"empty": "reject"},
        },
    }


def job(raw: dict[str, Any], root: Path) -> Job:
    """A job that resolves its relative paths from nowhere: tests use absolute ones."""
    return Job(recipe=resolve(raw), root=root, base=Path("/nonexistent"))


def tree(root: Path) -> dict[str, str]:
    """sha256 of every file that a build commits, by path."""
    files = [path for folder in TREE for path in sorted((root / folder).rglob("*"))]
    files += [root / "manifest.json", root / "plan.json"]
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }
