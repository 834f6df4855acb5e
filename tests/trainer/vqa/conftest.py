"""Little files in the published formats, and models that see: what a scripted server makes of the picture it was sent.

On every picture the thing asked about is a small square in the left half, and a larger one of another colour, which
distracts, in the right half. The scripted model names the colour it sees most of, so it is right only where the
distractor is hidden; a masker that keeps the left half hides it.
"""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from annotators.chat import backoff, breaker
from pipeline.intake.images import decode
from tests.annotators.chat.scripts import Action, Reply, Script, Seen
from trainer.vqa.asking import Masking

COLOURS = {"red": (220, 30, 30), "green": (30, 180, 40), "blue": (30, 50, 220)}
KEY = "MASKMIX_VQA_API_KEY"


@pytest.fixture(autouse=True)
def chat_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A reply cache and an environment of the test's own, and short waits."""
    home = tmp_path / "home"
    monkeypatch.setenv("MASKMIX_HOME", str(home))
    for prefix in ("MASKMIX_CHAT", "MASKMIX_VQA", "MASKMIX_JUDGE", "OPENAI"):
        for name in ("BASE_URL", "API_KEY", "MODEL"):
            monkeypatch.delenv(f"{prefix}_{name}", raising=False)
    monkeypatch.setenv(KEY, "none")
    monkeypatch.setenv("MASKMIX_JUDGE_API_KEY", "none")
    monkeypatch.setattr(backoff, "BASE", 0.01)
    monkeypatch.setattr(breaker, "COOL_DOWN", 0.01)
    return home


def draw(path: Path, target: str, distractor: str, *, seed: int = 0) -> Path:
    """A picture of 96x128 (h, w) with a small square left and a large one right."""
    grey = np.random.default_rng(seed).integers(118, 124, (96, 128, 1), dtype=np.uint8)
    picture = np.repeat(grey, 3, axis=2)
    picture[30:50, 16:36] = COLOURS[target]
    picture[20:80, 64:120] = COLOURS[distractor]
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture[:, :, ::-1])
    return path


def left_half(image: NDArray[np.uint8], about: str) -> NDArray[np.float32]:
    """A masker that keeps where the thing stands, whatever it is called."""
    assert about.strip()
    share = np.zeros(image.shape[:2], np.float32)
    share[26:54, 12:40] = 1.0
    return share


LEFT = Masking(predict=left_half, crop=True)


def picture_of(seen: Seen) -> NDArray[np.uint8]:
    """The one picture of a request, RGB."""
    (url,) = seen.images
    data = np.frombuffer(base64.b64decode(url.partition(",")[2]), np.uint8)
    return decode(data.tobytes())


def colour_seen(seen: Seen) -> str:
    """The colour that most pixels of a request's picture have."""
    pixels = picture_of(seen).astype(int)
    near = {n: int((np.abs(pixels - c).max(axis=2) < 60).sum()) for n, c in COLOURS.items()}
    return max(near, key=lambda name: near[name])


def answering(answer: Callable[[Seen], str]) -> Script:
    def script(seen: Seen) -> Action:
        return Reply(text=answer(seen))

    return script


def the_letter(seen: Seen) -> str:
    """The letter of the option that names the colour it sees most of; "unsure" where none does."""
    for line in seen.user.splitlines():
        if line.endswith(colour_seen(seen)):
            return line[1]
    return "unsure"


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def vstar_folder(root: Path, count: int = 3) -> Path:
    """The folder of V*Bench: `count` questions of each category, the right option first."""
    names = list(COLOURS)
    for at, category in enumerate(("direct_attributes", "relative_position")):
        for n in range(count):
            target, distractor = names[n % 3], names[(n + 1) % 3]
            path = draw(root / category / f"sa_{n}.jpg", target, distractor, seed=100 * at + n)
            said = {
                "target_object": ["square"],
                "bbox": [[16, 30, 20, 20]],
                "question": f"What is the colour of square {n}?",
                "options": [target, *(name for name in names if name != target)],
            }
            path.with_suffix(".json").write_text(json.dumps(said))
    return root


def vstar_lines(root: Path, count: int = 4) -> Path:
    """`test_questions.jsonl` of V*Bench."""
    names, rows = list(COLOURS), []
    for n in range(count):
        category = ("direct_attributes", "relative_position")[n % 2]
        target, distractor = names[n % 3], names[(n + 1) % 3]
        draw(root / category / f"sa_{n}.jpg", target, distractor, seed=n)
        lettered = "\n".join(f"({letter}) {name}" for letter, name in zip("ABC", names, strict=True))  # fmt: skip
        ask = "Answer with the option's letter from the given choices directly."
        rows.append({"image": f"{category}/sa_{n}.jpg", "text": f"What is the colour of it?\n{lettered}\n{ask}",
                     "category": category, "label": "ABC"[names.index(target)], "question_id": n})  # fmt: skip
    return write_lines(root / "test_questions.jsonl", rows)


def pope_file(root: Path, setting: str, count: int = 4) -> Path:
    """A POPE file: is there a square of the small one's colour (yes), of the large one's (labelled no)?"""
    names, rows = list(COLOURS), []
    for n in range(count):
        target, distractor = names[n % 3], names[(n + 1) % 3]
        name = f"COCO_val2014_{n:012d}.jpg"
        draw(root / "val2014" / name, target, distractor, seed=n)
        for colour, label in ((target, "yes"), (distractor, "no")):
            rows.append({"question_id": len(rows), "image": name,
                         "text": f"Is there a {colour} square in the image?", "label": label})  # fmt: skip
    return write_lines(root / f"coco_pope_{setting}.json", rows)


def egothink_folder(root: Path, dimensions: tuple[str, ...], count: int = 3) -> Path:
    """The folder of EgoThink."""
    names = list(COLOURS)
    for dimension in dimensions:
        rows = []
        for n in range(count):
            target, distractor = names[n % 3], names[(n + 1) % 3]
            draw(root / dimension / "images" / f"{n}.jpg", target, distractor, seed=n)
            rows.append({"source_dataset": "ego4d", "image_path": [f"{n}.jpg"],
                         "question": "What colour is the square?", "answer": f"{target}."})  # fmt: skip
        (root / dimension / "annotations.json").write_text(json.dumps(rows))
    return root
