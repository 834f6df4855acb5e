"""Deterministic tiny experts for tests and docs: real objects that understand nothing.

What they answer depends on the pixels, the phrase and the seed alone (through sha256), so a batch, a single call and
another process agree. They say "fake" in their provenance; no shipped recipe uses them.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from annotators.candidate import Candidate, Proposal, Provenance
from annotators.masks import encode_mask
from annotators.phrase import Phrase
from annotators.protocols import Image
from annotators.registry import config_hash


class FakeRewriter:
    """The first instruction cut to `words` words; abstains when it is shorter than two words."""

    name = "fake_rewriter"
    reads_image = False

    def __init__(self, *, words: int = 5) -> None:
        self.words = words

    def rewrite(
        self, instructions: Sequence[Sequence[str]], images: Sequence[Image]
    ) -> list[list[Phrase]]:
        answers: list[list[Phrase]] = []
        for phrasings in instructions:
            words = phrasings[0].split()[: self.words] if phrasings else []
            text = " ".join(words) if len(words) >= 2 else ""
            made = [Phrase(text=text, role="simplified", made_by=self.name)] if text else []
            answers.append(made)
        return answers


class FakeGrounder:
    """`boxes` random boxes for the first phrase of each image; abstains with probability `abstain`."""

    name = "fake_grounder"

    def __init__(self, *, seed: int = 0, boxes: int = 1, abstain: float = 0.0) -> None:
        self.seed, self.boxes, self.abstain = seed, boxes, abstain
        options = {"seed": seed, "boxes": boxes, "abstain": abstain}
        self.config_hash = config_hash(self.name, options)

    def ground(
        self, images: Sequence[Image], phrases: Sequence[Sequence[Phrase]]
    ) -> list[list[Proposal]]:
        return [self._one(*pair) for pair in zip(images, phrases, strict=True)]

    def _one(self, image: Image, phrases: Sequence[Phrase]) -> list[Proposal]:
        rng = _rng(self.name, self.seed, image, phrases)
        if not phrases or rng.random() < self.abstain:
            return []
        answers: list[Proposal] = []
        for _ in range(self.boxes):
            height, width = image.shape[:2]
            x = np.sort(rng.choice(width + 1, 2, replace=False))
            y = np.sort(rng.choice(height + 1, 2, replace=False))
            score = float(rng.random())
            made_by = Provenance(
                expert=self.name, model="sha256", score_raw=score, config_hash=self.config_hash
            )
            box = (float(x[0]), float(y[0]), float(x[1]), float(y[1]))
            answers.append(Proposal(box=box, phrase=0, score=score, made_by=made_by))
        return answers


class FakeSegmenter:
    """The ellipse inside each proposal's box."""

    name = "fake_segmenter"

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = seed
        self.config_hash = config_hash(self.name, {"seed": seed})

    def segment(
        self, images: Sequence[Image], proposals: Sequence[Sequence[Proposal]]
    ) -> list[list[Candidate]]:
        return [
            [
                self._one(image, index, proposal)
                for index, proposal in enumerate(of_image)
                if ellipse(image.shape[:2], proposal.box).any()
            ]
            for image, of_image in zip(images, proposals, strict=True)
        ]

    def _one(self, image: Image, index: int, proposal: Proposal) -> Candidate:
        rng = _rng(self.name, self.seed, image, [])
        made_by = Provenance(
            expert=self.name,
            model="ellipse",
            score_raw=proposal.score,
            config_hash=self.config_hash,
        )
        return Candidate(
            mask=encode_mask(ellipse(image.shape[:2], proposal.box)),
            phrase=proposal.phrase,
            proposal=index,
            mask_score=proposal.score,
            stability=float(rng.uniform(0.5, 1.0)),
            made_by=made_by,
        )


class FakeTextSegmenter:
    """One random rectangle for the first phrase of each image; abstains with probability `abstain`."""

    name = "fake_text_segmenter"

    def __init__(self, *, seed: int = 0, abstain: float = 0.0) -> None:
        self.seed, self.abstain = seed, abstain
        self.config_hash = config_hash(self.name, {"seed": seed, "abstain": abstain})

    def segment_text(
        self, images: Sequence[Image], phrases: Sequence[Sequence[Phrase]]
    ) -> list[list[Candidate]]:
        return [self._one(*pair) for pair in zip(images, phrases, strict=True)]

    def _one(self, image: Image, phrases: Sequence[Phrase]) -> list[Candidate]:
        rng = _rng(self.name, self.seed, image, phrases)
        if not phrases or rng.random() < self.abstain:
            return []
        height, width = image.shape[:2]
        x = np.sort(rng.choice(width + 1, 2, replace=False))
        y = np.sort(rng.choice(height + 1, 2, replace=False))
        mask = np.zeros((height, width), bool)
        mask[y[0] : y[1], x[0] : x[1]] = True
        score = float(rng.random())
        made_by = Provenance(
            expert=self.name, model="rectangle", score_raw=score, config_hash=self.config_hash
        )
        return [
            Candidate(
                mask=encode_mask(mask),
                phrase=0,
                proposal=None,
                mask_score=score,
                stability=1.0,
                made_by=made_by,
            )
        ]


def ellipse(size_hw: tuple[int, ...], box: tuple[float, float, float, float]) -> NDArray[np.bool_]:
    """Boolean (h, w): the pixels whose centres lie in the ellipse that fills the XYXY `box`."""
    y, x = np.mgrid[: size_hw[0], : size_hw[1]] + 0.5
    x1, y1, x2, y2 = box
    return ((2 * x - x1 - x2) / (x2 - x1)) ** 2 + ((2 * y - y1 - y2) / (y2 - y1)) ** 2 <= 1.0


def _rng(name: str, seed: int, image: Image, phrases: Sequence[Phrase]) -> np.random.Generator:
    text = "\n".join([name, str(seed), str(image.shape), *(phrase.text for phrase in phrases)])
    digest = hashlib.sha256(text.encode() + np.ascontiguousarray(image).tobytes()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))
