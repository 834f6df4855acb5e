"""From what a source found to a sample: the image admitted, the instructions cleaned, the gold given its role.

Which gold a trainer may learn from is decided per image by a hash of its bytes and a seed. All samples of a
photograph share a role, and the choice does not move when a source grows, shrinks or is read in another order.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from annotators.masks import Mask
from pipeline.codec import ImageFormat
from pipeline.config import Strict
from pipeline.intake.images import admit
from pipeline.intake.instructions import clean_instructions
from pipeline.records import GoldRole, Sample, SourceRef

Size = tuple[int, int]
GoldForm = Literal["mask", "box"]
"""What a source makes of human labels: `mask` gives gold; `box` gives no gold but boxes for a segmenter to fill."""


class IntakeConfig(Strict):
    """Options of every source that takes in images of others."""

    dataset: str = ""
    """Name in `SourceRef`; empty: made from what is read."""
    split: str = "train"
    licence: str = ""
    """For inputs that do not say their own."""
    gold_fraction: float = Field(default=1.0, ge=0, le=1)
    """Share of images whose gold a trainer may learn from; the gold of the others has the role "audit"."""
    gold_seed: int = 0


class FileConfig(IntakeConfig):
    """Options of every source that reads files."""

    path: Path


def admit_sample(
    data: bytes,
    *,
    id: str,
    image_format: ImageFormat,
    instructions: Sequence[Any],
    config: IntakeConfig,
    key: str,
    dataset: str,
    split: str = "",
    licence: str = "",
    url: str = "",
    style: str = "",
    gold: Callable[[Size], Mask | None] = lambda size_hw: None,
    boxes: Callable[[Size], list[list[float]] | None] = lambda size_hw: None,
    extra: tuple[tuple[str, Any], ...] = (),
) -> Sample:
    """A sample of image bytes as received; `gold` and `boxes` are called with the upright size (h, w).

    What `boxes` gives (XYXY pixels inside the image; None: nothing was drawn) is kept as `extra` "boxes", where the
    labelled path looks for it.

    Raises:
        Refused: the image, an instruction, the gold or a box cannot be taken.
    """
    texts = clean_instructions(instructions)
    admitted = admit(data, image_format)
    mask = gold(admitted.size_hw)
    drawn = boxes(admitted.size_hw)
    role = gold_role(admitted.sha256, fraction=config.gold_fraction, seed=config.gold_seed)
    return Sample(
        id=id,
        image=admitted.image,
        size_hw=admitted.size_hw,
        instructions=texts,
        source=SourceRef(
            dataset=dataset,
            split=split or config.split,
            key=key.encode("utf-8", "backslashreplace").decode(),  # file names may be no UTF-8
            licence=licence or config.licence,
            url=url,
            image_sha256=admitted.sha256,
            transcoded=admitted.transcoded,
        ),
        style=style,
        gold=mask,
        gold_role="train" if mask is None else role,
        extra=extra if drawn is None else (*extra, ("boxes", drawn)),
    )


def gold_role(image_sha256: str, *, fraction: float, seed: int) -> GoldRole:
    """The role "train" for about `fraction` of all images, "audit" for the rest.

    >>> gold_role("ab", fraction=1.0, seed=0), gold_role("ab", fraction=0.0, seed=0)
    ('train', 'audit')
    """
    return "train" if hash_unit(f"gold:{seed}:{image_sha256}") < fraction else "audit"


def hash_unit(text: str) -> float:
    """A number in [0, 1) that depends on `text` alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48
