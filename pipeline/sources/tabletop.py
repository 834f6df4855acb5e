"""The embedded source: generated photographs of a robot table with exact masks, nothing to download.

Sample i asks about scene `start + i // samples_per_scene`; a scene is a function of (seed, scene number) alone, and
whether its gold may be learnt from is too, so both samples of a picture share the role. All gold is known, but only
a small share is given for training: the rest is there to measure machine labels (`gold_role` "audit").
"""

import hashlib
from dataclasses import dataclass, field
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from annotators.masks import encode_mask
from pipeline.codec import ImageFormat
from pipeline.config import Strict
from pipeline.intake.label_noise import Noise, noisy_candidate
from pipeline.records import GoldRole, Reject, Sample, SourceRef
from pipeline.tabletop.quiz import Question, ask
from pipeline.tabletop.render import Picture, render
from pipeline.tabletop.scene import sample_scene
from pipeline.tabletop.sight import View, look

ATTEMPTS = 8
"""How many scenes are drawn in a row before a scene number is given up for want of questions."""


class Config(Strict):
    """Options of `source: {kind: tabletop}`."""

    kind: Literal["tabletop"] = "tabletop"
    seed: int = Field(default=0, ge=0)
    count: int = Field(default=600, ge=1)
    """Number of samples."""
    start: int = Field(default=0, ge=0)
    """Number of the first scene; a held-out set starts beyond the last scene of the training set."""
    size_hw: tuple[int, int] = (360, 480)
    """Height and width of the pictures, pixels; 48 to 2048 each."""
    samples_per_scene: int = Field(default=2, ge=1, le=8)
    gold_fraction: float = Field(default=0.12, ge=0, le=1)
    """Share of scenes whose gold is for training; the gold of all others is for auditing."""
    no_target_fraction: float = Field(default=0.08, ge=0, le=1)
    """Share of instructions that ask for something that is not there."""
    places: bool = True
    """Whether instructions may say where a thing is, or how it ranks among its like ("left of the bowl", "the largest
    mug"); false: only what it is ("the red mug"), which a small model learns sooner."""
    noise: Noise | None = None
    """Born with one candidate that is right or wrong in known shares; None: without, for a plan with a panel."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drawn:
    """A scene drawn and asked about."""

    number: int
    image: bytes
    picture: Picture
    view: View
    questions: tuple[Question, ...]


@dataclass(slots=True, eq=False)
class Tabletop:
    """The generated source; keeps the last scene, because neighbours in the order share it."""

    config: Config
    image_format: ImageFormat
    fills: frozenset[str]
    _last: Drawn | None = field(default=None, init=False, repr=False)

    def __len__(self) -> int:
        return self.config.count

    def load(self, index: int) -> Sample | Reject:
        """The sample at `index` in 0..len-1, the same bytes in every process."""
        turn, which = divmod(index, self.config.samples_per_scene)
        number = self.config.start + turn
        drawn = self.scene(number)
        sample_id = f"tabletop-{number:06d}-{which}"
        if len(drawn.questions) <= which:
            return Reject(
                sample_id=sample_id,
                stage="source",
                reason="scene-without-question",
                detail=f"{ATTEMPTS} scenes drawn for number {number}; none allows enough questions",
            )
        return _sample(self.config, drawn, which=which, sample_id=sample_id)

    def scene(self, number: int) -> Drawn:
        """Scene `number` with its questions, drawn unless it was the last one asked for."""
        if self._last is None or self._last.number != number:
            self._last = draw(self.config, number=number, image_format=self.image_format)
        return self._last


def make(config: Config, image_format: ImageFormat) -> Tabletop:
    """The source of a configuration.

    Raises:
        ValueError: the picture size is out of range.
    """
    if not all(48 <= side <= 2048 for side in config.size_hw):
        raise ValueError(
            f"tabletop size_hw {list(config.size_hw)}; expected height and width of 48 to 2048 pixels"
        )
    fills = frozenset({"candidates"} if config.noise else ())
    return Tabletop(config=config, image_format=image_format, fills=fills)


def draw(config: Config, *, number: int, image_format: ImageFormat) -> Drawn:
    """Draw scene `number`: the first of its attempts that allows enough questions, else the last."""
    drawn = _attempt(config, number=number, attempt=0, image_format=image_format)
    for attempt in range(1, ATTEMPTS):
        if len(drawn.questions) == config.samples_per_scene:
            break
        drawn = _attempt(config, number=number, attempt=attempt, image_format=image_format)
    return drawn


def _attempt(config: Config, *, number: int, attempt: int, image_format: ImageFormat) -> Drawn:
    height, width = config.size_hw
    seed = [config.seed, number, attempt]
    scene = sample_scene(np.random.default_rng([*seed, 0]), aspect=width / height)
    picture = render(scene, size_hw=config.size_hw)
    view = look(scene, picture.ids)
    questions = ask(
        view,
        count=config.samples_per_scene,
        no_target=config.no_target_fraction,
        rng=np.random.default_rng([*seed, 1]),
        places=config.places,
    )
    return Drawn(
        number=number,
        image=_encode(picture, image_format),
        picture=picture,
        view=view,
        questions=tuple(questions),
    )


def gold_role(config: Config, *, number: int) -> GoldRole:
    """Whether the gold of scene `number` is for training, by a hash of seed and number."""
    digest = hashlib.sha256(f"tabletop gold {config.seed} {number}".encode()).digest()
    share = int.from_bytes(digest[:8], "big") / 2**64
    return "train" if share < config.gold_fraction else "audit"


def _sample(config: Config, drawn: Drawn, *, which: int, sample_id: str) -> Sample:
    question = drawn.questions[which]
    targets = sorted(question.targets)
    gold = np.isin(drawn.picture.ids, np.array(targets, np.int16))
    told = None
    if config.noise is not None:
        told = noisy_candidate(
            gold,
            lambda: _others(drawn, question),
            config.noise,
            key=sample_id,
            model="tabletop-noise",
        )
    sample = Sample(
        id=sample_id,
        image=drawn.image,
        size_hw=config.size_hw,
        instructions=question.texts,
        source=SourceRef(
            dataset="tabletop",
            split=f"seed-{config.seed}",
            key=f"{drawn.number}-{which}",
            licence="CC0-1.0",
            url="",
            image_sha256=hashlib.sha256(drawn.image).hexdigest(),
        ),
        style=question.style,
        gold=encode_mask(gold),
        gold_role=gold_role(config, number=drawn.number),
        extra=(*_extra(drawn, question, targets), *((("noise", told[0]),) if told else ())),
    )
    return sample.fill("candidates", (told[1],)) if told else sample


def _others(drawn: Drawn, question: Question) -> list[NDArray[np.bool_]]:
    """Masks of the things that the question does not mean and that can be seen clearly."""
    return [
        drawn.picture.ids == i
        for i, sight in enumerate(drawn.view.sights)
        if sight.clear and i not in question.targets
    ]


def _extra(drawn: Drawn, question: Question, targets: list[int]) -> tuple[tuple[str, Any], ...]:
    things, query = drawn.view.things, question.query
    relation = query.relation or query.rank
    return (
        ("scene", drawn.number),
        ("families", sorted({things[i].family for i in targets})),
        ("relation", relation.kind if relation else ""),
        ("targets", len(targets)),
        ("things", len(things)),
    )


def _encode(picture: Picture, image_format: ImageFormat) -> bytes:
    """JPEG of quality 95 without chroma subsampling, or PNG."""
    options = [cv2.IMWRITE_PNG_COMPRESSION, 3]
    if image_format == "jpg":
        full = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
        options = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, full]
    done, data = cv2.imencode(f".{image_format}", picture.rgb[..., ::-1], options)
    assert done, picture.rgb.shape
    return data.tobytes()
