"""What every expert promises, run over the registry; the author of a plug-in adds a name to `OFFLINE` and runs it.

An expert that needs weights or an endpoint stands in `NEEDS` and keeps its promises in a test file of its own.
"""

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest

from annotators.candidate import Candidate, Proposal, Provenance
from annotators.phrase import Phrase
from annotators.protocols import Grounder, Rewriter, Segmenter, TextSegmenter
from annotators.registry import EXPERTS, make_expert

NEEDS = {
    "chat": "endpoint",
    "clip_regions": "weights",
    "clipseg": "weights",
    "florence2": "weights",
    "grounding_dino": "weights",
    "local": "weights",
    "open_vocab": "weights",
    "owlv2": "weights",
    "sam": "weights",
    "sam3": "weights",
    "sam_hf": "weights",
    "vlm_box": "endpoint",
    "vlm_verifier": "endpoint",
}
"""Built-in experts that are not made from nothing, with what they need: "weights" or "endpoint"."""

BROKEN = {"fake_faulty"}
"""There to break its promises."""

OFFLINE = sorted(set(EXPERTS) - set(NEEDS) - BROKEN)
"""Built-in experts that are made without options and ask nobody."""
TEXTS = (
    "the small red mug on the left", "all the blue balls", "the man in the green shirt", "the thing", "カップ",
    "Ünïcödé 🙂 cup", "the largest box left of the red mug",
)  # fmt: skip


def scene(height, width, seed=0):
    """Three coloured things on grey, large enough to be seen; noise keeps surfaces apart."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), 150, np.uint8)
    for colour, cy, cx in (
        ((200, 30, 30), 0.5, 0.25),
        ((30, 60, 190), 0.4, 0.7),
        ((40, 150, 60), 0.75, 0.55),
    ):
        y, x = np.mgrid[:height, :width]
        near = ((y - cy * height) / (0.14 * height)) ** 2 + ((x - cx * width) / (0.1 * width)) ** 2
        image[near <= 1] = colour
    noise = rng.integers(-6, 7, image.shape)
    return np.clip(image.astype(int) + noise, 0, 255).astype(np.uint8)


IMAGES = (
    scene(90, 120), scene(120, 80, 1), np.full((40, 60, 3), 128, np.uint8), np.zeros((1, 1, 3), np.uint8),
    scene(3, 200), np.full((64, 64, 3), 255, np.uint8), scene(60, 60, 2),
)  # fmt: skip


def phrases(text):
    return [Phrase(text=text, role="simplified", made_by="test")]


def whole(image, index=0):
    """A proposal in the middle of an image, for segmenters."""
    height, width = image.shape[:2]
    box = (width * 0.1, height * 0.3, width * 0.45, height * 0.75)
    return [Proposal(box=box, phrase=index, score=0.7, made_by=Provenance(expert="test"))]


def answers(expert, images, texts):
    """The expert's answers, one list per image, in every role that it has."""
    given = [phrases(text) if text else [] for text in texts]
    found = []
    if isinstance(expert, Rewriter):
        shown = images if expert.reads_image else []
        found.append(expert.rewrite([[text or "x"] for text in texts], shown))
    if isinstance(expert, Grounder):
        found.append(expert.ground(images, given))
    if isinstance(expert, Segmenter):
        boxes = [whole(image) if text else [] for image, text in zip(images, texts, strict=True)]
        found.append(expert.segment(images, boxes))
    if isinstance(expert, TextSegmenter):
        found.append(expert.segment_text(images, given))
    assert found, f"{expert} has no role of annotators.protocols"
    return found


def digest(name):
    expert = make_expert(name, {})
    texts = [TEXTS[i % len(TEXTS)] for i in range(len(IMAGES))]
    return hashlib.sha256(repr(answers(expert, list(IMAGES), texts)).encode()).hexdigest()


@pytest.fixture(params=OFFLINE)
def expert(request):
    return make_expert(request.param, {})


def test_it_carries_its_registered_name(expert):
    assert make_expert(expert.name, {}).name == expert.name


def test_a_batch_of_mixed_sizes_gives_what_single_calls_give(expert):
    texts = [TEXTS[i % len(TEXTS)] for i in range(len(IMAGES))]
    batched = answers(expert, list(IMAGES), texts)
    for i, (image, text) in enumerate(zip(IMAGES, texts, strict=True)):
        for role, single in zip(batched, answers(expert, [image], [text]), strict=True):
            assert role[i] == single[0]


def test_every_answer_fits_its_image_and_says_who_made_it(expert):
    for turn in (0, 3):
        texts = [TEXTS[(i + turn) % len(TEXTS)] for i in range(len(IMAGES))]
        for role in answers(expert, list(IMAGES), texts):
            assert len(role) == len(IMAGES)
            for image, row in zip(IMAGES, role, strict=True):
                for answer in row:
                    check(answer, image, expert.name)


def check(answer, image, name):
    if isinstance(answer, Phrase):
        assert answer.made_by == name
        return
    assert answer.made_by.expert == name
    assert len(answer.made_by.config_hash) == 12
    assert np.isfinite(answer.made_by.score_raw)
    assert answer.phrase == 0
    height, width = image.shape[:2]
    if isinstance(answer, Proposal):
        x1, y1, x2, y2 = answer.box
        assert 0 <= x1 < x2 <= width
        assert 0 <= y1 < y2 <= height
    else:
        assert isinstance(answer, Candidate)
        assert answer.mask.size_hw == (height, width)
        assert answer.mask.area() > 0


def test_without_phrases_or_boxes_it_abstains(expert):
    if isinstance(expert, Rewriter):
        assert expert.rewrite([[]], list(IMAGES[:1]) if expert.reads_image else []) == [[]]
    else:
        assert all(role == [[]] for role in answers(expert, [IMAGES[0]], [""]))


def test_no_images_give_no_answers(expert):
    assert all(role == [] for role in answers(expert, [], []))


def test_it_leaves_the_image_alone(expert):
    image = scene(90, 120)
    image.setflags(write=False)
    answers(expert, [image], [TEXTS[0]])
    assert (image == scene(90, 120)).all()


@pytest.mark.slow
def test_two_processes_with_other_thread_counts_agree():
    code = (
        "import cv2, json, sys; cv2.setNumThreads(int(sys.argv[1])); cv2.setRNGSeed(int(sys.argv[1]));"
        "from tests.annotators.test_contract import OFFLINE, digest;"
        "print(json.dumps({name: digest(name) for name in OFFLINE}))"
    )
    runs = [
        json.loads(
            subprocess.run([sys.executable, "-c", code, n], check=True, capture_output=True).stdout
        )
        for n in ("1", "4")
    ]
    assert runs[0] == runs[1] == {name: digest(name) for name in OFFLINE}
