"""Image + instruction + mask -> a logit: would a human have drawn this mask for this instruction?

IVM's released discriminator computes features of the mask and never uses them, so it can only tell which data set an
image is from. Here the mask enters three times: as an input channel at full resolution; as the region over which
features of the image are pooled, inside and outside, to be compared with the text; and as a number, its overlap with a
guess. The guess is a mask of the discriminator's own (as DWBC's discriminator reads the policy's likelihood, arXiv
2207.10050), made by a segmenter of its own from image and text; it is detached, so the verdict trains no segmenter.
"""

import torch
from torch import Tensor, nn

from trainer.models.judge import Sight
from trainer.models.tiny.encoders import ImageEncoder, film
from trainer.models.tiny.segmenter import Segmenter


class Discriminator(nn.Module):
    """A verdict on masks, and the guess it compares them with.

    Args:
        guesser: the segmenter that guesses; its text encoder reads the instruction for the verdict too.
        width: channels of the verdict's own image encoder at half resolution.
        dim: width of the guesser's text.
    """

    def __init__(self, *, guesser: Segmenter, width: int, dim: int) -> None:
        super().__init__()
        self.guesser = guesser
        self.eyes = ImageEncoder(width=width, channels=6)
        _, w4, w8 = self.eyes.widths
        self.film4 = nn.Linear(dim, 2 * w4)
        self.film8 = nn.Linear(dim, 2 * w8)
        self.head = nn.Sequential(
            nn.Linear(3 * w4 + w8 + dim + 6, 96), nn.GELU(), nn.Linear(96, 48), nn.GELU(), nn.Linear(48, 1)
        )  # fmt: skip

    def look(self, image: Tensor, tokens: Tensor, embedding: Tensor | None = None) -> Sight:
        """The guess; the eyes open only when there is a mask to look at, since it is one of their channels."""
        seen = self.guesser.encode(image, tokens, embedding)
        guess = self.guesser.decode(seen)
        return Sight(image=image, tokens=tokens, guess=guess, text=seen.pooled)

    def forward(
        self, image: Tensor, tokens: Tensor, mask: Tensor, embedding: Tensor | None = None
    ) -> Tensor:
        """image b3hw, tokens bt, mask b1hw in [0, 1] -> verdict logits b."""
        return self.judge(self.look(image, tokens, embedding), mask)

    def judge(self, sight: Sight, mask: Tensor) -> Tensor:
        """Verdict logits b of masks b1hw in [0, 1]."""
        assert sight.guess is not None
        assert sight.text is not None
        g, text = sight.guess.detach().sigmoid(), sight.text.detach()
        _, f4, f8 = self.eyes(torch.cat([sight.image, mask, g, (mask - g).abs()], 1))
        f4 = film(f4, self.film4(text))
        f8 = film(f8, self.film8(text))
        inside = _pool(f4, nn.functional.avg_pool2d(mask, 4))
        outside = _pool(f4, nn.functional.avg_pool2d(1.0 - mask, 4))
        facts = [inside, outside, f4.amax((2, 3)), f8.mean((2, 3)), text, overlap_facts(mask, g)]
        return self.head(torch.cat(facts, 1))[:, 0]


def overlap_facts(mask: Tensor, guess: Tensor) -> Tensor:
    """b6: IoU, precision and recall of the mask against the guess, their areas, and their mean difference."""
    m, g = mask.flatten(1), guess.flatten(1)
    both, area_m, area_g = (m * g).sum(1), m.sum(1), g.sum(1)
    eps = 1e-3 * m.shape[1]
    return torch.stack(
        [
            (both + eps) / (area_m + area_g - both + eps),
            (both + eps) / (area_m + eps),
            (both + eps) / (area_g + eps),
            area_m / m.shape[1],
            area_g / m.shape[1],
            (m - g).abs().mean(1),
        ],
        1,
    )


def _pool(features: Tensor, region: Tensor) -> Tensor:
    """Mean of bchw over a soft region b1hw -> bc; 0 for an empty region."""
    return (features * region).sum((2, 3)) / (region.sum((2, 3)) + 1e-3)
