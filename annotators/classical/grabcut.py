"""The expert that cuts a thing out of its box: GrabCut (Rother, Kolmogorov, Blake 2004) through OpenCV.

OpenCV starts its colour models by k-means from a random generator that the whole process shares. Here the models are
started by binary splitting along the main axis of variation (Orchard and Bouman 1991, what the paper used), that of the
thing from the middle of the box, and handed over. Nothing is drawn: the same pixels and box give the same mask in any
process, thread and order.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from annotators.boxes import Box
from annotators.candidate import Candidate, Proposal, Provenance
from annotators.classical.view import enlarge, smooth
from annotators.masks import BoolMask, encode_mask
from annotators.protocols import Image
from annotators.registry import config_hash

COMPONENTS = 5
"""Gaussians per model; OpenCV fixes it."""
NOISE = 1.0
"""Variance added to a Gaussian in grey levels squared, so that flat colours stay invertible."""


class GrabCutExpert:
    """One mask per box. Abstains on a box that covers the image, or from which nothing or everything is cut.

    Args:
        longest: pixels of the longest side of the crop at which it works.
        context: share of the box's sides that is seen around it as background.
        iterations: rounds of model fitting and cutting.
    """

    name = "grabcut"

    def __init__(self, *, longest: int = 180, context: float = 0.5, iterations: int = 4) -> None:
        if iterations < 2:
            raise ValueError(
                f"iterations is {iterations}; expected at least 2, two masks are compared"
            )
        self.longest, self.context, self.iterations = longest, context, iterations
        options = {"longest": longest, "context": context, "iterations": iterations}
        self.config_hash = config_hash(self.name, options)

    def segment(
        self, images: Sequence[Image], proposals: Sequence[Sequence[Proposal]]
    ) -> list[list[Candidate]]:
        return [
            [
                candidate
                for index, proposal in enumerate(of_image)
                if (candidate := self._one(image, index, proposal)) is not None
            ]
            for image, of_image in zip(images, proposals, strict=True)
        ]

    def _one(self, image: Image, index: int, proposal: Proposal) -> Candidate | None:
        import cv2

        height, width = int(image.shape[0]), int(image.shape[1])
        left, top, right, bottom = _window(proposal.box, (height, width), self.context)
        crop = np.ascontiguousarray(image[top:bottom, left:right])
        scale = min(1.0, self.longest / max(crop.shape[:2]))
        size_wh = (max(1, round(crop.shape[1] * scale)), max(1, round(crop.shape[0] * scale)))
        small = np.asarray(cv2.resize(crop, size_wh, interpolation=cv2.INTER_AREA), np.uint8)
        x1, y1, x2, y2 = proposal.box
        ratio_x, ratio_y = size_wh[0] / crop.shape[1], size_wh[1] / crop.shape[0]
        inner = np.zeros(small.shape[:2], bool)
        inner[
            max(0, round((y1 - top) * ratio_y)) : max(1, round((y2 - top) * ratio_y)),
            max(0, round((x1 - left) * ratio_x)) : max(1, round((x2 - left) * ratio_x)),
        ] = True
        found = cut_out(small, inner, iterations=self.iterations)
        if found is None:
            return None
        before, after = found
        filled = float(after.sum() / inner.sum())
        if not 0.02 < filled < 0.995:
            return None
        full = np.zeros((height, width), bool)
        soft = enlarge(smooth(after.astype(np.float32), 0.8), (bottom - top, right - left))
        full[top:bottom, left:right] = soft >= 0.5
        if not full.any():
            return None
        either = int((before | after).sum())
        made_by = Provenance(expert=self.name, score_raw=filled, config_hash=self.config_hash)
        return Candidate(
            mask=encode_mask(full),
            phrase=proposal.phrase,
            proposal=index,
            mask_score=proposal.score * min(1.0, filled / 0.4),
            stability=int((before & after).sum()) / either if either else 1.0,
            made_by=made_by,
        )


def cut_out(rgb: Image, inner: BoolMask, *, iterations: int) -> tuple[BoolMask, BoolMask] | None:
    """Cut the foreground out of the pixels of `inner`; everything else is background.

    Returns:
        The masks after half and after all of the iterations, boolean (h, w); None when there is too little
        background or foreground to model.
    """
    import cv2

    if min(int(inner.sum()), int((~inner).sum())) < 4 * COMPONENTS:
        return None
    labels = np.where(inner, cv2.GC_PR_FGD, cv2.GC_BGD).astype(np.uint8)
    middle = inner & _ellipse_in(inner)
    background, foreground = colour_model(rgb[~inner]), colour_model(rgb[middle])
    masks: list[BoolMask] = []
    half = iterations // 2
    for rounds in (half, iterations - half):
        cv2.grabCut(rgb, labels, (0, 0, 1, 1), background, foreground, rounds, cv2.GC_EVAL)
        masks.append((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD))
        if not masks[-1].any():
            return None
    return masks[0], masks[1]


def _ellipse_in(inner: BoolMask) -> BoolMask:
    """The ellipse with 0.7 of the sides of the box that `inner` fills: the corners of a box are rarely the thing."""
    rows, columns = np.flatnonzero(inner.any(axis=1)), np.flatnonzero(inner.any(axis=0))
    y = (np.arange(inner.shape[0]) - rows.mean()) / max(1.0, 0.35 * len(rows))
    x = (np.arange(inner.shape[1]) - columns.mean()) / max(1.0, 0.35 * len(columns))
    return y[:, None] ** 2 + x[None, :] ** 2 <= 1.0


def colour_model(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """A mixture of five Gaussians over `pixels` (n, 3) by repeated splitting, in OpenCV's layout (1, 65).

    The group with the largest variance along its main axis is split at its mean there, until there are five or nothing
    varies. Unused components have weight 0.
    """
    groups = [pixels.astype(np.float64)]
    while len(groups) < COMPONENTS:
        axes = [_main_axis(group) for group in groups]
        widest = max(range(len(groups)), key=lambda i: (axes[i][0], -i))
        variance, axis = axes[widest]
        if variance < NOISE:
            break
        group = groups.pop(widest)
        along = group @ axis
        upper = along > along.mean()
        groups += [group[~upper], group[upper]]
    model = np.zeros((1, 13 * COMPONENTS))
    for i, group in enumerate(groups):
        model[0, i] = len(group) / len(pixels)
        model[0, COMPONENTS + 3 * i : COMPONENTS + 3 * i + 3] = group.mean(axis=0)
        spread = np.cov(group.T, bias=True) + NOISE * np.eye(3)
        start = 4 * COMPONENTS + 9 * i
        model[0, start : start + 9] = spread.ravel()
    return model


def _main_axis(group: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    if len(group) < 2:
        return 0.0, np.array([1.0, 0.0, 0.0])
    values, vectors = np.linalg.eigh(np.cov(group.T, bias=True))
    axis = vectors[:, -1]
    return float(values[-1]), axis * np.sign(axis[np.abs(axis).argmax()])


def _window(box: Box, size_hw: tuple[int, int], context: float) -> tuple[int, int, int, int]:
    """The box with context around it, in whole pixels inside the image: left, top, right, bottom."""
    x1, y1, x2, y2 = box
    grow_x, grow_y = context * (x2 - x1) + 4, context * (y2 - y1) + 4
    left, top = max(0, int(x1 - grow_x)), max(0, int(y1 - grow_y))
    right = min(size_hw[1], int(np.ceil(x2 + grow_x)))
    bottom = min(size_hw[0], int(np.ceil(y2 + grow_y)))
    return left, top, right, bottom
