"""What a model is given at one step.

Letters: b samples, t text tokens, h and w pixels of the training frame.
"""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One step's samples, in the training frame (the stored image squashed to the recipe's `size_hw`).

    image: float32 b3hw, RGB in [0, 1]. tokens: int64 bt, 0 = padding. mask: float32 b1hw in [0, 1], the target (gold
    where `is_gold`, else the machine label, which may be soft). label: float32 b1hw, the machine label even of a gold
    sample. pixel_valid: float32 b1hw, 1 inside the photograph, 0 where augmentation moved its border inwards.
    theta: float32 b23, from a place in the batch to the place in the photograph's own frame where it was before
    augmentation (trainer.data.augment.move); methods that remember pixels need it.
    weight: float32 b >= 0, from outside the model (ones when nothing was said). p_clean: float32 b in [0, 1], the
    discriminator's belief (1 when nothing was said). is_gold: bool b. rows: int64 b, each sample's row in its dataset.
    chance: int64 b, what each sample's chance at this step hangs on (trainer.data.chance). embedding: bcrs, what a
    frozen image encoder makes of `image`, read from a cache; None: the model encodes `image`.
    """

    image: Tensor
    tokens: Tensor
    mask: Tensor
    label: Tensor
    pixel_valid: Tensor
    theta: Tensor
    weight: Tensor
    p_clean: Tensor
    is_gold: Tensor
    rows: Tensor
    ids: tuple[str, ...]
    chance: Tensor
    embedding: Tensor | None = None

    def __post_init__(self) -> None:
        b, channels, h, w = self.image.shape
        assert channels == 3, self.image.shape
        assert self.mask.shape == self.label.shape == self.pixel_valid.shape == (b, 1, h, w)
        assert (
            self.weight.shape == self.p_clean.shape == self.is_gold.shape == self.rows.shape == (b,)
        )
        assert self.theta.shape == (b, 2, 3)
        assert self.tokens.shape[0] == len(self.ids) == b
        assert self.embedding is None or len(self.embedding) == b
