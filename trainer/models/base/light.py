"""The discriminator `light`: a small head on the features of a model whose image encoder is frozen.

Image features, text and mask are all used: `trainer.models.light_head` pools the features inside and outside of the
mask, compares them with the text, and adds the mask's overlap with a guess. The guess comes from a decoder of the
discriminator's own, which learns from the same batches by the plain mask loss; the verdict trains the head alone. Text
and guess are therefore only as good as that decoder: with `discriminate.guess: 0` the text is a random projection.
"""

from typing import Any

from torch import Tensor, nn

from trainer.models.judge import Sight
from trainer.models.light_head import LightHead


class LightDiscriminator(nn.Module):
    """A `trainer.models.judge.Judge`.

    Args:
        guesser: a `trainer.models.protocol.MaskModel` of its own, whose features the head reads.
    """

    def __init__(self, *, guesser: Any) -> None:
        super().__init__()
        self.guesser = guesser
        self.head = LightHead(channels=guesser.map_channels[-1], text_dim=guesser.text_dim)

    def forward(
        self, image: Tensor, tokens: Tensor, mask: Tensor, embedding: Tensor | None = None
    ) -> Tensor:
        """image b3hw in [0, 1], tokens bt, mask b1hw in [0, 1] -> verdict logits b."""
        return self.judge(self.look(image, tokens, embedding), mask)

    def look(self, image: Tensor, tokens: Tensor, embedding: Tensor | None = None) -> Sight:
        """Features and a guess: the image encoder runs here and nowhere else."""
        features = self.guesser.encode(image, tokens, embedding)
        guess = self.guesser.decode(features)
        return Sight(
            image=image, tokens=tokens, guess=guess, text=features.pooled, features=features
        )

    def judge(self, sight: Sight, mask: Tensor) -> Tensor:
        """Verdict logits b of masks b1hw in [0, 1]."""
        assert sight.features is not None
        assert sight.guess is not None
        return self.head(sight.features, sight.guess, mask)[:, 0]
