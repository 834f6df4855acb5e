"""What stands where pixels are hidden, for measures that hide some: white, grey, black, a blur, the picture's mean.

No fill is neutral (missingness bias, arXiv 2204.08945): a flat colour draws the outline of what was hidden, and a model
may take it for a thing of its own; a blur keeps layout and colours. So a measure that hides pixels is made with several
fills and told for each. The blur is that of `annotators.sam.region_crops`, far softer than the one of RISE (sigma 5 on
224 pixels, arXiv 1806.07421, which leaves large things readable).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from annotators.protocols import Image
from annotators.sam.region_crops import blurred

LEVELS = {"white": 255, "grey": 128, "black": 0}


def fill(image: Image, kind: str) -> Image:
    """What is shown in place of hidden pixels: RGB uint8 (h, w, 3), of the size of `image`.

    Raises:
        ValueError: `kind` is none of `FILLS`.
    """
    if kind not in FILLS:
        raise ValueError(f"fill {kind!r}; expected {', '.join(FILLS)}")
    return FILLS[kind](image)


def _flat(level: int) -> Callable[[Image], Image]:
    return lambda image: np.full_like(image, level)


def _mean(image: Image) -> Image:
    colour: NDArray[np.float64] = image.mean((0, 1), dtype=np.float64)
    return np.broadcast_to(np.rint(colour).astype(np.uint8), image.shape)


FILLS: dict[str, Callable[[Image], Image]] = {
    **{name: _flat(level) for name, level in LEVELS.items()},
    "blur": blurred,
    "mean": _mean,
}
"""By name; white first, as in the paper whose composites it fills (arXiv 2405.19783)."""
