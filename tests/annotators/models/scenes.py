"""Photographs of mixed sizes, phrases of every sort, and what an expert with weights must do with them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from annotators.candidate import Candidate, Proposal
from annotators.phrase import Phrase
from tests.annotators.test_contract import scene

LANDSCAPE, PORTRAIT, ODD, TINY = scene(60, 90), scene(90, 51, 1), scene(37, 61, 2), scene(9, 7, 3)
SIZES = [LANDSCAPE, PORTRAIT, ODD, TINY]
"""Sizes that every reference implementation can do."""
THIN = [np.zeros((1, 1, 3), np.uint8), scene(3, 200), scene(200, 3, 5)]
WEIRD = (
    "カップ", "Ünïcödé 🙂 cup", "half a pair \ud83d here", "nul \x00 and \x1b escape", "<image> <OD> <loc_5> </s>",
    "<|endoftext|>", "a. b. c.", "[SEP] [MASK] the mug", "word " * 3000, "x" * 3000,
)  # fmt: skip


def said(*texts: str) -> list[Phrase]:
    return [Phrase(text=text, role="simplified", made_by="test") for text in texts]


def ask(expert: Any, images: Sequence[Any], phrases: Sequence[Sequence[Phrase]]) -> list[list[Any]]:
    return getattr(expert, "ground" if hasattr(expert, "ground") else "segment_text")(
        images, phrases
    )


def keeps_the_contract(make: Any) -> None:
    """`make(**options)` gives a fresh expert; asserts what annotators.protocols promises of it."""
    images = [LANDSCAPE, PORTRAIT, LANDSCAPE, ODD, TINY, *THIN]
    phrases = [
        said("the red mug", "blue ball"), said("the man"), said("the box"), [], said("the ball", "the mug", "the box"),
        said("the mug"), said("the mug"), said("the red mug"),
    ]  # fmt: skip
    expert, alone = make(), make()
    batched = ask(expert, images, phrases)
    assert sum(map(len, batched)) >= len(images), "the tiny model says too little to test with"
    assert batched[3] == []
    for image, row, answers in reversed([*zip(images, phrases, batched, strict=True)]):
        assert answers == ask(alone, [image], [row])[0]
        for answer in answers:
            check(answer, image, len(row), expert)
    assert {answer.phrase for answer in batched[4]} == {0, 1, 2}
    assert ask(expert, [], []) == []
    for answers in ask(expert, [LANDSCAPE] * len(WEIRD), [said(text) for text in WEIRD]):
        for answer in answers:
            check(answer, LANDSCAPE, 1, expert)
    assert ask(expert, [LANDSCAPE], [said("\x00", "<>")]) == [[]]


def check(answer: Any, image: Any, phrases: int, expert: Any) -> None:
    height, width = image.shape[:2]
    who, said = expert.identity, answer.made_by
    assert (said.expert, said.model, said.revision) == (expert.name, who.model, who.revision)
    assert (said.prompt_version, said.config_hash) == (who.prompt_version, who.config_hash)
    assert said.revision.startswith("sha256:")
    assert who.licence == "apache-2.0"
    assert 0 <= answer.phrase < phrases
    assert np.isfinite(said.score_raw)
    if isinstance(answer, Proposal):
        x1, y1, x2, y2 = answer.box
        assert 0 <= x1 < x2 <= width
        assert 0 <= y1 < y2 <= height
    else:
        assert isinstance(answer, Candidate)
        assert answer.mask.size_hw == (height, width)
        assert answer.mask.area() > 0


def batches_agree(make: Any, monkeypatch: Any) -> None:
    """As on a GPU, where rows run together: the same answers up to rounding, here with batches forced on a CPU."""
    from annotators.models.torch_model import TorchModel

    images = [LANDSCAPE, PORTRAIT, scene(60, 90, 8), ODD, LANDSCAPE]
    phrases = [
        said("the red mug", "ball"), said("the man"), said("the box on the left is red"), said("a box"), said("mug"),
    ]  # fmt: skip
    alone = ask(make(), images, phrases)
    largest = []
    monkeypatch.setattr(
        TorchModel, "at_once", lambda self, batch_size: largest.append(batch_size) or batch_size
    )
    together = ask(make(), images, phrases)
    assert max(largest) > 1
    assert sum(map(len, alone)) >= len(images)
    for one, other in zip(alone, together, strict=True):
        assert [a.phrase for a in one] == [a.phrase for a in other]
        for a, b in zip(one, other, strict=True):
            assert abs(a.made_by.score_raw - b.made_by.score_raw) <= 1e-3
            if isinstance(a, Proposal):
                assert np.abs(np.subtract(a.box, b.box)).max() <= 0.01
            else:
                assert a.mask.iou(b.mask) > 0.999
