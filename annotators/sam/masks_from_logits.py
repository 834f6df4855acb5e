"""From low-resolution mask logits and predicted IoUs to candidates: what every model of the SAM family ends with.

SAM (arXiv 2304.02643) gives for each prompt m mask logits at a quarter of its padded input (256x256 of 1024x1024) and
an IoU that it predicts for each. The best mask is chosen BEFORE it is enlarged, so one mask per prompt is enlarged, one
at a time: a mask at full size costs more than its choice. Enlarging is SAM's own two steps (to the padded input, crop,
to the image; bilinear, half-pixel centres), and the cut is at logit 0.

Letters: n prompts, m masks of a prompt, s side of the logits, h w pixels of the image.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from annotators.candidate import Candidate, Proposal, Provenance
from annotators.masks import BoolMask, encode_mask

if TYPE_CHECKING:
    from torch import Tensor

THRESHOLD = 0.0
"""Logit above which a pixel belongs to the mask."""
OFFSET = 1.0
"""Shift of the threshold for the stability score; segment-anything's default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """How an image lies in a model's input: resized to `input_hw`, then padded right and below to `padded` squared.

    All sizes are (h, w) pixels. A model that stretches the image to a square and enlarges logits in one step (SAM 2)
    has `input_hw` and `padded` None.
    """

    size_hw: tuple[int, int]
    input_hw: tuple[int, int] | None = None
    padded: int | None = None

    def __post_init__(self) -> None:
        assert (self.input_hw is None) == (self.padded is None), self


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundMask:
    """One mask (h, w), the IoU that its model predicts for it, unclipped, and its stability in [0, 1]."""

    mask: BoolMask
    predicted_iou: float
    stability: float


def choose_best(logits: "Tensor", ious: "Tensor") -> tuple["Tensor", "Tensor"]:
    """The mask with the highest predicted IoU of each prompt.

    Args:
        logits: (n, m, s, s).
        ious: (n, m).

    Returns:
        Logits (n, s, s) and predicted IoUs (n,); of equal IoUs the first mask.
    """
    import torch

    assert logits.shape[:2] == ious.shape, (logits.shape, ious.shape)
    best = ious.argmax(dim=1)
    rows = torch.arange(len(best), device=best.device)
    return logits[rows, best], ious[rows, best]


def enlarge(logits: "Tensor", frame: Frame) -> "Tensor":
    """Logits (k, s, s) to float32 logits (k, h, w) of the image, as SAM does it."""
    from torch.nn.functional import interpolate

    full = logits[:, None].float()
    if frame.input_hw is not None and frame.padded is not None:
        full = interpolate(full, (frame.padded,) * 2, mode="bilinear", align_corners=False)
        full = full[..., : frame.input_hw[0], : frame.input_hw[1]]
    return interpolate(full, frame.size_hw, mode="bilinear", align_corners=False)[:, 0]


def without_padding(logits: "Tensor", frame: Frame) -> "Tensor":
    """The part of logits (..., s, s) that lies over the image rather than over its padding."""
    if frame.input_hw is None or frame.padded is None:
        return logits
    rows, columns = (-(-v * logits.shape[-1] // frame.padded) for v in frame.input_hw)
    return logits[..., :rows, :columns]


def stability_of(logits: "Tensor") -> "Tensor":
    """IoU of the masks cut at +1 and at -1: little change means a sure outline. segment-anything's definition.

    Args:
        logits: (k, any, any), at any resolution.

    Returns:
        Float32 (k,) in [0, 1]; 0 where both masks are empty.
    """
    inner = (logits > THRESHOLD + OFFSET).sum((-2, -1))
    outer = (logits > THRESHOLD - OFFSET).sum((-2, -1))
    return inner.float() / outer.clamp(min=1).float()


def masks_from_logits(logits: "Tensor", ious: "Tensor", frame: Frame) -> list[FoundMask | None]:
    """The best mask of each prompt at the size of the image; None where it is empty.

    Stability is taken on the low-resolution logits of the chosen mask without the padding. segment-anything's automatic
    masks take it on enlarged ones, which costs 16 times the pixels and differs in the outline's rounding alone.

    Args:
        logits: (n, m, s, s), any float type and device.
        ious: (n, m) predicted IoUs.
        frame: how the image lies in the model's input.
    """
    best, scores = choose_best(logits, ious)
    stabilities = stability_of(without_padding(best, frame)).tolist()
    found: list[FoundMask | None] = []
    for low, score, stability in zip(best, scores.float().tolist(), stabilities, strict=True):
        mask = np.asarray((enlarge(low[None], frame)[0] > THRESHOLD).cpu().numpy())
        made = FoundMask(mask=mask, predicted_iou=score, stability=stability)
        found.append(made if mask.any() else None)
    return found


def candidate_from(
    found: FoundMask, *, phrase: int, proposal: int | None, made_by: Provenance
) -> Candidate:
    """A candidate whose score is the predicted IoU clipped to [0, 1]; `made_by` gets the unclipped one.

    Raises:
        ValueError: the predicted IoU is not a number.
    """
    score = found.predicted_iou
    return Candidate(
        mask=encode_mask(found.mask),
        phrase=phrase,
        proposal=proposal,
        mask_score=min(1.0, max(0.0, score)) if score == score else score,
        stability=found.stability,
        made_by=replace(made_by, score_raw=score),
    )


def candidates_from_logits(
    logits: "Tensor",
    ious: "Tensor",
    frame: Frame,
    *,
    proposals: Sequence[Proposal],
    made_by: Provenance,
) -> list[Candidate]:
    """At most one candidate per proposal: row i of `logits` (n, m, s, s) and `ious` (n, m) answers `proposals[i]`.

    Raises:
        ValueError: a predicted IoU is not a number.
    """
    assert len(logits) == len(proposals), (len(logits), len(proposals))
    return [
        candidate_from(found, phrase=proposal.phrase, proposal=index, made_by=made_by)
        for index, (proposal, found) in enumerate(
            zip(proposals, masks_from_logits(logits, ious, frame), strict=True)
        )
        if found is not None
    ]
