"""What every discriminator offers: look once at image and text, then judge as many masks for them as one likes.

A training step judges three masks a sample (its own, another's, the machine's), and looking is what costs: a frozen
encoder, a guess.
"""

from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from torch import Tensor

from trainer.models.protocol import Features


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What a discriminator has seen of b samples before it is shown a mask.

    image: b3hw, RGB in [0, 1]. tokens: bt. guess: mask logits b1hw made from image and text alone, with their gradient;
    None for a discriminator that does not guess. text: bd, the instruction as one vector. features: of the guesser, for
    a discriminator that judges by them.
    """

    image: Tensor
    tokens: Tensor
    guess: Tensor | None = None
    text: Tensor | None = None
    features: Features | None = None

    def pick(self, rows: Tensor | slice) -> "Sight":
        """Some of the samples: `rows` is bool b, indices, or a stretch."""
        return Sight(
            image=self.image[rows],
            tokens=self.tokens[rows],
            guess=None if self.guess is None else self.guess[rows],
            text=None if self.text is None else self.text[rows],
            features=None if self.features is None else _pick(self.features, rows),
        )


def _pick(features: Features, rows: Tensor | slice) -> Features:
    return replace(
        features,
        maps=tuple(m[rows] for m in features.maps),
        text=features.text[rows],
        pooled=features.pooled[rows],
        real=features.real[rows],
    )


class Judge(Protocol):
    """An `nn.Module` that says whether a human would have drawn this mask for this instruction.

    Its forward is `judge(look(image, tokens, embedding), mask)`. The verdict gives no gradient to the guess.
    """

    def look(self, image: Tensor, tokens: Tensor, embedding: Tensor | None = None) -> Sight:
        """As `trainer.models.protocol.MaskModel.encode`."""
        ...

    def judge(self, sight: Sight, mask: Tensor) -> Tensor:
        """Verdict logits b of masks b1hw in [0, 1]."""
        ...

    def __call__(
        self, image: Tensor, tokens: Tensor, mask: Tensor, embedding: Tensor | None = None
    ) -> Tensor:
        """Verdict logits b."""
        ...


@runtime_checkable
class Composing(Judge, Protocol):
    """A judge that sees of an image what a mask leaves, over white, and that can be shown it over something else."""

    def judge_shown(self, sight: Sight, shown: Tensor) -> Tensor:
        """Verdict logits b of masked images b3hw in [0, 1]."""
        ...


def composite_white(image: Tensor, mask: Tensor) -> Tensor:
    """The image where the mask is 1, white where it is 0, mixed between: `image * mask + (1 - mask)`.

    Args:
        image: float b3hw in [0, 1].
        mask: float b1hw in [0, 1]; gradients pass.

    Returns:
        float b3hw in [0, 1]; times 255 and rounded it is what `trainer.use.effects.overlay` gives.
    """
    assert image.is_floating_point(), image.dtype
    assert mask.is_floating_point(), mask.dtype
    assert mask.shape == (len(image), 1, *image.shape[2:]), (mask.shape, image.shape)
    return image * mask + (1.0 - mask)
