"""What a mask leaves of the image + instruction -> a verdict logit: IVM's composite judge, at the tiny model's size.

It is shown the image under the mask over white (arXiv 2405.19783, fig. 6) and no mask: what is white may be hidden or
painted white, and what lies outside is not to be seen. It guesses nothing. Kept for comparison with the discriminator
that sees the mask.
"""

import torch
from torch import Tensor, nn

from trainer.models.judge import Sight, composite_white
from trainer.models.tiny.encoders import ImageEncoder, TextEncoder, film


class Composite(nn.Module):
    """A `trainer.models.judge.Composing`.

    Args:
        text: its own; the verdict trains it.
        width: channels of its eyes at half resolution.
        dim: width of the text.
    """

    def __init__(self, *, text: TextEncoder, width: int, dim: int) -> None:
        super().__init__()
        self.text = text
        self.eyes = ImageEncoder(width=width)
        _, w4, w8 = self.eyes.widths
        self.film4 = nn.Linear(dim, 2 * w4)
        self.film8 = nn.Linear(dim, 2 * w8)
        self.head = nn.Sequential(
            nn.Linear(2 * w4 + w8 + dim, 96), nn.GELU(), nn.Linear(96, 48), nn.GELU(), nn.Linear(48, 1)
        )  # fmt: skip

    def look(self, image: Tensor, tokens: Tensor, embedding: Tensor | None = None) -> Sight:
        """Only the instruction is read before there is a mask."""
        return Sight(image=image, tokens=tokens, text=self.text(tokens)[1])

    def forward(
        self, image: Tensor, tokens: Tensor, mask: Tensor, embedding: Tensor | None = None
    ) -> Tensor:
        """image b3hw, tokens bt, mask b1hw in [0, 1] -> verdict logits b."""
        return self.judge(self.look(image, tokens, embedding), mask)

    def judge(self, sight: Sight, mask: Tensor) -> Tensor:
        """Verdict logits b of masks b1hw in [0, 1]."""
        return self.judge_shown(sight, composite_white(sight.image, mask))

    def judge_shown(self, sight: Sight, shown: Tensor) -> Tensor:
        """Verdict logits b of masked images b3hw in [0, 1]."""
        assert sight.text is not None
        _, f4, f8 = self.eyes(shown)
        f4 = film(f4, self.film4(sight.text))
        f8 = film(f8, self.film8(sight.text))
        facts = [f4.mean((2, 3)), f4.amax((2, 3)), f8.mean((2, 3)), sight.text]
        return self.head(torch.cat(facts, 1))[:, 0]
