"""What a mask does to an image before another model sees it: overlay, grayscale, blur, and a crop on top.

A library of numpy in and numpy out, to be called before your own vision-language model or policy, with a mask from
anywhere; it loads no torch. To hide what an instruction does not need, and cut to the rest:

    >>> image = np.full((100, 80, 3), 7, np.uint8)
    >>> mask = np.zeros((100, 80), np.float32)  # e.g. of Predictor.predict(image, "the red mug")
    >>> mask[40:60, 30:50] = 0.9
    >>> shown = apply_effect(image, mask, effect="overlay", threshold=0.5, crop=True)
    >>> shown.box, shown.image.shape, shown.failed_open
    ((20, 30, 60, 70), (40, 40, 3), False)

`shown.image` goes to the model, and a point (x, y) in its answer is (x + shown.box[0], y + shown.box[1]) of `image`.

Every effect is `round(visible * image + (1 - visible) * hidden)` with one visibility map, so all effects agree where
the mask is 1. Whatever leaves nothing to see fails *open*: the whole image is shown and `failed_open` says so. The
release shows the whole image by adding the threshold to the map, which misses an all-zero map and a maximum equal to
the threshold, and hides everything instead; those are the cases that are decided here.

Source: IVM (arXiv 2405.19783), "Deployment". `visibility` follows the released inference code (read in the source:
threshold 0.1, dilate and blur by k = 2 int(0.05 H) + 1, white fill), `soft_visibility` the variant of the paper's own
release (floor 0.2 in batches, 0.1 for single images; read in the source). Blurring the hidden part by 201 px is read
in the source too, but there its visibility stopped at 1 - floor; here it uses the same map as the overlay. Grayscale
is named in the paper and in no released code: its form here is ours.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Effect = Literal["overlay", "grayscale", "blur"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Visibility:
    """How much of each pixel is kept.

    `share` is float32 (h, w) in [0, 1]; `box` the XYXY pixel box, half-open, of what is worth a crop, never empty;
    `failed_open` says that the mask left nothing and so the whole image is shown.
    """

    share: NDArray[np.float32]
    box: tuple[int, int, int, int]
    failed_open: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shown:
    """An image after an effect: RGB uint8 (h, w, 3), or its crop to `box`; see `Visibility` for the rest."""

    image: Image
    box: tuple[int, int, int, int]
    failed_open: bool


def apply_effect(
    image: NDArray[np.generic],
    mask: NDArray[np.generic],
    *,
    effect: Effect = "overlay",
    threshold: float = 0.1,
    crop: bool = False,
) -> Shown:
    """Show what `mask` (h, w) in [0, 1] keeps of `image`, uint8 (h, w, 3) RGB or (h, w) grey.

    Neither input is written into. With `crop` the result is cut to the box of what is visible.

    Raises:
        ValueError: an input is not of the kind named above, or the effect is unknown.
    """
    effects: dict[str, Callable[[Image, NDArray[np.float32]], Image]] = {
        "overlay": overlay, "grayscale": grayscale, "blur": blur,
    }  # fmt: skip
    if effect not in effects:
        raise ValueError(f"effect {effect!r} is unknown; expected one of {', '.join(effects)}")
    picture = rgb(image)
    kept = visibility(mask, threshold=threshold)
    if kept.share.shape != picture.shape[:2]:
        raise ValueError(
            f"mask of {kept.share.shape} on an image of {picture.shape[:2]} (h, w) pixels; resize the mask"
        )
    shown = effects[effect](picture, kept.share)
    return Shown(
        image=cut(shown, kept.box) if crop else shown, box=kept.box, failed_open=kept.failed_open
    )


def visibility(
    mask: NDArray[np.generic], *, threshold: float = 0.1, spread: float = 0.05
) -> Visibility:
    """Pixels above `threshold`, dilated and then blurred by k = 2 int(spread * h) + 1 pixels (height for both axes).

    A higher threshold never shows more, until nothing is above it: then it fails open. One pixel of `mask` far from
    the border gives a box of side 1 + 4 int(spread * h).

    Raises:
        ValueError: `mask` is not a float or boolean (h, w) array in [0, 1], or an option is outside [0, 1].
    """
    probability = _probability(mask)
    _check_unit("threshold", threshold)
    above = probability > threshold
    if not above.any():
        return _open(probability.shape)
    share = _spread(above.astype(np.float32), spread)
    return Visibility(share=share, box=_box(share > 0), failed_open=False)


def soft_visibility(
    mask: NDArray[np.generic], *, floor: float = 0.2, spread: float = 0.05, min_range: float = 0.5
) -> Visibility:
    """`floor + (1 - floor) m`, where m is the dilated and blurred mask stretched to [0, 1].

    Fails open when m ranges over `min_range` or less before it is stretched: such a mask does not tell one part of
    the image from another. `box` is of m > 0.5.

    Raises:
        ValueError: as for `visibility`.
    """
    probability = _probability(mask)
    _check_unit("floor", floor)
    m = _spread(probability, spread)
    low, high = float(m.min()), float(m.max())
    if high - low <= min_range:
        return _open(probability.shape)
    m = (m - np.float32(low)) / np.float32(high - low)
    share = (floor + (1 - floor) * m).astype(np.float32)
    return Visibility(share=share, box=_box(m > 0.5), failed_open=False)


def overlay(image: Image, share: NDArray[np.float32], fill: int = 255) -> Image:
    """Hide behind one grey level, white as in the paper. Fill and shape of a mask leak information to the reader."""
    return compose(image, np.full_like(image, fill), share)


def grayscale(image: Image, share: NDArray[np.float32]) -> Image:
    """Take the colour (ITU-R BT.601 luma) from what is hidden; the scene stays readable."""
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return compose(image, rgb(np.asarray(luma)), share)


def blur(image: Image, share: NDArray[np.float32], kernel: int = 201) -> Image:
    """Blur what is hidden with a Gaussian of `kernel` pixels; the release uses 201, or 401 on larger images.

    Raises:
        ValueError: `kernel` is not an odd positive number.
    """
    if kernel < 1 or kernel % 2 == 0:
        raise ValueError(f"blur kernel of {kernel} pixels; expected an odd number such as 201")
    hidden = np.asarray(cv2.GaussianBlur(image, (kernel, kernel), 0), np.uint8)
    return compose(image, hidden, share)


def compose(image: Image, hidden: Image, share: NDArray[np.float32]) -> Image:
    """`round(share * image + (1 - share) * hidden)`, uint8 (h, w, 3); exact where `share` is 0 or 1."""
    weight = share[..., None]
    mixed = weight * image.astype(np.float32) + (1 - weight) * hidden.astype(np.float32)
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def cut(image: Image, box: tuple[int, int, int, int]) -> Image:
    """The pixels of an XYXY box, as a copy."""
    x1, y1, x2, y2 = box
    return np.ascontiguousarray(image[y1:y2, x1:x2])


def rgb(image: NDArray[np.generic]) -> Image:
    """Contiguous RGB uint8 (h, w, 3) from RGB (h, w, 3) or grey (h, w) or (h, w, 1).

    Raises:
        ValueError: another dtype, an alpha channel (what lies behind it is not ours to choose), or an empty image.
    """
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3) or image.size == 0:
        hint = "; drop or composite the alpha channel first" if image.shape[-1] == 4 else ""
        raise ValueError(
            f"image of shape {image.shape}; expected (h, w, 3) RGB or (h, w) grey{hint}"
        )
    if image.dtype != np.uint8:
        raise ValueError(f"image is {image.dtype}; expected uint8 0..255")
    if image.shape[2] == 1:
        image = np.repeat(image, 3, axis=2)
    return np.ascontiguousarray(image, dtype=np.uint8)


def _probability(mask: NDArray[np.generic]) -> NDArray[np.float32]:
    if mask.ndim != 2 or mask.size == 0:
        raise ValueError(f"mask of shape {mask.shape}; expected (h, w)")
    if mask.dtype != np.bool_ and not np.issubdtype(mask.dtype, np.floating):
        raise ValueError(
            f"mask is {mask.dtype}; expected floats in [0, 1] or bool (divide a 0..255 mask by 255)"
        )
    probability = np.ascontiguousarray(mask, dtype=np.float32)
    if not (probability.min() >= 0 and probability.max() <= 1):  # also catches NaN
        raise ValueError(
            f"mask ranges over {probability.min()}..{probability.max()}; expected [0, 1] (a sigmoid is missing?)"
        )
    return probability


def _check_unit(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} is {value}; expected a number in [0, 1]")


def _spread(m: NDArray[np.float32], spread: float) -> NDArray[np.float32]:
    _check_unit("spread", spread)
    k = 2 * int(spread * m.shape[0]) + 1
    wider = cv2.dilate(m, np.ones((k, k), np.uint8))
    return np.clip(cv2.GaussianBlur(wider, (k, k), 0), 0, 1).astype(np.float32)


def _open(shape: tuple[int, ...]) -> Visibility:
    height, width = shape
    return Visibility(
        share=np.ones((height, width), np.float32), box=(0, 0, width, height), failed_open=True
    )


def _box(worth: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(worth.any(axis=1)), np.flatnonzero(worth.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
