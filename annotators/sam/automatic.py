"""Masks of everything in an image, without prompts: a grid of points through any model of the SAM family.

The rules of segment-anything's SamAutomaticMaskGenerator with one crop: each grid point gives three masks, those with
a low predicted IoU or stability go, and non-maximum suppression by box keeps the surest of near equals. Predicted IoUs
are looked at before anything is enlarged. Small regions are left as they are, and empty masks are dropped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from annotators.boxes import Box, box_of
from annotators.masks import BoolMask, Mask, encode_mask
from annotators.protocols import Image
from annotators.sam.encodings import Encoding
from annotators.sam.masks_from_logits import THRESHOLD, enlarge, stability_of

if TYPE_CHECKING:
    from torch import Tensor


class Prompted(Protocol):
    """A model that encodes images once and then answers prompts given in pixels of the image."""

    def encode(self, images: Sequence[Image]) -> list[Encoding]: ...

    def decode(
        self,
        encoding: Encoding,
        *,
        points: NDArray[np.floating[Any]],
        labels: NDArray[np.integer[Any]],
        multimask: bool,
    ) -> tuple["Tensor", "Tensor"]:
        """Low-resolution logits (n, m, s, s) and predicted IoUs (n, m) for n prompts of k points each.

        `points` (n, k, 2) are x, y pixels of the image, `labels` (n, k) 1 for the thing and 0 for the background.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AutomaticMask:
    """One mask, kept run-length encoded (`mask` decodes it), its scores, and its tight XYXY half-open box."""

    rle: Mask
    predicted_iou: float
    stability: float
    box: Box

    @property
    def mask(self) -> BoolMask:
        """Boolean (h, w)."""
        return self.rle.array()


def automatic_masks(
    prompted: Prompted,
    image: Image,
    *,
    points_per_side: int = 32,
    points_per_batch: int = 64,
    least_predicted_iou: float = 0.88,
    least_stability: float = 0.95,
    most_box_iou: float = 0.7,
) -> list[AutomaticMask]:
    """Masks of what lies under a regular grid of points, the highest predicted IoU first.

    Args:
        prompted: the model.
        image: RGB uint8 (h, w, 3).
        points_per_side: the grid has this many points squared.
        points_per_batch: prompts in one call of `decode`; bounds memory, and changes results by rounding at most.
        least_predicted_iou: masks at or below it go.
        least_stability: masks below it go; stability is taken at the size of the image, as segment-anything does.
        most_box_iou: of two masks whose boxes overlap more, the one with the higher predicted IoU stays.
    """
    import torch
    from torchvision.ops import nms

    [encoding] = prompted.encode([image])
    height, width = image.shape[:2]
    points = grid_of(points_per_side) * np.array([width, height])
    found: list[AutomaticMask] = []
    with torch.inference_mode():
        for start in range(0, len(points), points_per_batch):
            part = points[start : start + points_per_batch, None]
            logits, ious = prompted.decode(
                encoding, points=part, labels=np.ones(part.shape[:2], np.int64), multimask=True
            )
            sure = ious > least_predicted_iou
            for low, iou in zip(logits[sure], ious[sure].tolist(), strict=True):
                full = enlarge(low[None], encoding.frame)
                stability = float(stability_of(full)[0])
                if stability >= least_stability and bool((full > THRESHOLD).any()):
                    found.append(_measured((full[0] > THRESHOLD).cpu().numpy(), iou, stability))
    if not found:
        return []
    # Suppression compares boxes that end ON the last pixel, as segment-anything's do.
    boxes = torch.tensor([mask.box for mask in found]) - torch.tensor([0.0, 0.0, 1.0, 1.0])
    kept = nms(boxes, torch.tensor([mask.predicted_iou for mask in found]), most_box_iou)
    return [found[i] for i in kept.tolist()]


def grid_of(points_per_side: int) -> NDArray[np.float64]:
    """Centres (n * n, 2) of n x n equal cells of the unit square as x, y, row by row."""
    along = (np.arange(points_per_side) + 0.5) / points_per_side
    return np.stack(np.meshgrid(along, along), axis=-1).reshape(-1, 2)


def _measured(mask: BoolMask, predicted_iou: float, stability: float) -> AutomaticMask:
    box = box_of(mask)
    assert box is not None
    return AutomaticMask(
        rle=encode_mask(mask), predicted_iou=predicted_iou, stability=stability, box=box
    )
