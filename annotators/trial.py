"""One expert tried on one photograph, in every role it has: what a person does before putting it on a panel."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from annotators.boxes import Box, check_box
from annotators.candidate import Candidate, Proposal, Provenance
from annotators.masks import BoolMask
from annotators.phrase import Phrase
from annotators.protocols import (
    Enricher,
    Grounder,
    Image,
    Rewriter,
    Segmenter,
    TextSegmenter,
    Verdict,
    Verifier,
)

GREEN, ORANGE = (40, 190, 90), (255, 140, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What an expert answered, by role; a role it could not be tried in says what was missing."""

    phrases: tuple[Phrase, ...] = ()
    proposals: tuple[Proposal, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    lacking: dict[str, str] = field(default_factory=dict[str, str])


def try_expert(
    expert: Any, *, image: Image | None, text: str | None, boxes: Sequence[Box] = ()
) -> Trial:
    """Ask `expert` about one RGB image, one text and XYXY pixel boxes, in every role for which these suffice.

    Raises:
        ValueError: a box leaves the image, or nothing given suffices for any role; and what the expert itself raises.
    """
    phrase = [Phrase(text=text, role="raw", made_by="you")] if text and text.strip() else []
    if image is not None:
        boxes = [check_box(box, (image.shape[0], image.shape[1])) for box in boxes]
    lacking: dict[str, str] = {}
    shape = image.shape[:2] if image is not None else (0, 0)
    found: dict[str, list[Any]] = {
        "phrases": [],
        "proposals": [],
        "candidates": [],
        "verdicts": [],
    }

    def role(name: str, kind: type, fills: str, needs: dict[str, Any], call: Any) -> None:
        if not isinstance(expert, kind):
            return
        missing = [what for what, given in needs.items() if given is None or len(given) == 0]
        if missing:
            lacking[name] = " and ".join(missing)
            return
        answer = call()[0]
        if isinstance(answer, Exception):
            raise answer
        if answer is not None:
            found[fills] += answer if isinstance(answer, list) else [answer]

    reads = bool(getattr(expert, "reads_image", False))
    seen = {"--image": image} if reads else {}
    shown = [image] if reads else []
    role("rewriter", Rewriter, "phrases", {"a text": phrase, **seen},
         lambda: expert.rewrite([[text]], shown))  # fmt: skip
    role("enricher", Enricher, "phrases", {"a text": phrase, **seen},
         lambda: expert.enrich([[text]], [list(boxes)], shown))  # fmt: skip
    role("grounder", Grounder, "proposals", {"a text": phrase, "--image": image},
         lambda: expert.ground([image], [phrase]))  # fmt: skip
    role("segmenter", Segmenter, "candidates", {"--image": image, "--box": boxes},
         lambda: expert.segment([image], [_given(boxes)]))  # fmt: skip
    role("text segmenter", TextSegmenter, "candidates", {"a text": phrase, "--image": image},
         lambda: expert.segment_text([image], [phrase]))  # fmt: skip
    role("verifier", Verifier, "verdicts", {"a text": phrase, "--image": image, "--box": boxes},
         lambda: expert.verify([image], [[text]], [_filled(shape, boxes)]))  # fmt: skip
    if lacking and not any(found.values()) and len(lacking) == _roles(expert):
        needs = "; ".join(f"as {name}: {what}" for name, what in lacking.items())
        raise ValueError(f"expert {expert.name!r} needs more to be tried: {needs}")
    return Trial(**{key: tuple(value) for key, value in found.items()}, lacking=lacking)


def draw_trial(image: Image, trial: Trial) -> NDArray[np.uint8]:
    """The photograph with candidates tinted and outlined green and proposals framed orange; RGB uint8 (h, w, 3)."""
    shown = np.ascontiguousarray(image).copy()
    thick = max(1, round(max(image.shape[:2]) / 300))
    for candidate in trial.candidates:
        mask = candidate.mask.array()
        shown[mask] = (0.6 * shown[mask] + 0.4 * np.array(GREEN)).astype(np.uint8)
        edges, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(shown, edges, -1, GREEN, thick)
    for proposal in trial.proposals:
        x1, y1, x2, y2 = (round(v) for v in proposal.box)
        cv2.rectangle(shown, (x1, y1), (x2 - 1, y2 - 1), ORANGE, thick)
    return shown


def _given(boxes: Sequence[Box]) -> list[Proposal]:
    made_by = Provenance(expert="you", score_raw=1.0)
    return [Proposal(box=box, phrase=0, score=1.0, made_by=made_by) for box in boxes]


def _filled(size_hw: tuple[int, ...], boxes: Sequence[Box]) -> BoolMask:
    mask = np.zeros(size_hw, bool)
    for x1, y1, x2, y2 in boxes:
        mask[round(y1) : round(y2), round(x1) : round(x2)] = True
    return mask


def _roles(expert: Any) -> int:
    kinds = (Rewriter, Enricher, Grounder, Segmenter, TextSegmenter, Verifier)
    return sum(isinstance(expert, kind) for kind in kinds)
