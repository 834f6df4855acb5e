"""What fusion makes of the candidates: one label, and the pipeline's belief in it."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from annotators.boxes import Box, box_of


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Label:
    """One fused mask. `mask` is uint8 (h, w): {0, 255} when binary, else the agreement of the panel in 0..255.

    `members` are the indices of the candidates that went in; none for an empty label (no target found). `box` is the
    tight XYXY box of the pixels >= 128, None when there is none.
    """

    mask: NDArray[np.uint8]
    kind: Literal["binary", "soft"]
    members: tuple[int, ...]
    rule: str

    def __post_init__(self) -> None:
        if self.mask.dtype != np.uint8 or self.mask.ndim != 2:
            raise ValueError(
                f"label mask is {self.mask.dtype} {self.mask.shape}; expected uint8 (h, w)"
            )
        if self.kind not in ("binary", "soft"):
            raise ValueError(f"label kind {self.kind!r}; expected 'binary' or 'soft'")
        # 255 + 1 wraps to 0; np.isin would take longer than decoding the mask
        if self.kind == "binary" and (self.mask + np.uint8(1)).max(initial=0) > 1:
            raise ValueError(
                "binary label holds grey levels; expected 0 and 255 only, or kind='soft'"
            )

    @property
    def box(self) -> Box | None:
        return box_of(self.mask >= 128)

    @property
    def area(self) -> int:
        """Number of pixels >= 128."""
        return int((self.mask >= 128).sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Belief in a label: `score` in [0, 1], 1 = clean; `parts` are the named numbers in [0, 1] it was made from."""

    score: float
    parts: tuple[tuple[str, float], ...]
    rule: str

    def __post_init__(self) -> None:
        if not self.rule:
            raise ValueError("quality has no rule; name how the score was made")
        for name, value in (("score", self.score), *self.parts):
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"quality {name} is {value}; expected a number in [0, 1]")
