"""A discriminator of a few thousand parameters on the features that a segmenter has computed anyway.

Joint DWSL judges labels while the segmenter learns, and a second encoder would cost as much again. This head reads the
segmenter's coarsest map and its pooled text, detached, so that judging trains nothing but the head. The mask is what it
judges, and enters twice: as the region inside and outside of which the map is pooled, to be compared with the text; and
as its overlap with the segmenter's own mask, also detached (as DWBC's discriminator reads the policy's likelihood,
arXiv 2207.10050, and IVM's prototype a likelihood of each pixel). A head without the last could not see a mask that
is cut badly inside one cell of the map.
"""

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from trainer.models.protocol import Features
from trainer.models.tiny.discriminator import overlap_facts

HIDDEN = 32


class LightHead(nn.Module):
    """A verdict on masks from a segmenter's features.

    Args:
        channels: of the coarsest map.
        text_dim: width of the pooled text.
    """

    def __init__(self, *, channels: int, text_dim: int) -> None:
        super().__init__()
        self.inside = nn.Linear(channels, HIDDEN)
        self.contrast = nn.Linear(channels, HIDDEN)
        self.text = nn.Linear(text_dim, HIDDEN)
        self.judge = nn.Sequential(
            nn.LayerNorm(4 * HIDDEN + 6),
            nn.Linear(4 * HIDDEN + 6, HIDDEN),
            nn.GELU(),
            nn.Linear(HIDDEN, 1),
        )

    def forward(self, features: Features, prediction: Tensor, mask: Tensor) -> Tensor:
        """features, prediction (mask logits) and mask in [0, 1] b1hw of the same b samples -> verdict logits b."""
        coarse = features.maps[-1].detach()
        cells = coarse.shape[2], coarse.shape[3]
        m = functional.adaptive_avg_pool2d(mask, cells)
        g = functional.adaptive_avg_pool2d(prediction.detach().sigmoid(), cells)
        inside, outside = _pool(coarse, m), _pool(coarse, 1.0 - m)
        seen = self.inside(inside)
        text = self.text(features.pooled.detach())
        contrast = self.contrast(inside - outside)
        facts = [seen, contrast, seen * text, contrast * text, overlap_facts(m, g)]
        return self.judge(torch.cat(facts, 1))[:, 0]


def _pool(features: Tensor, region: Tensor) -> Tensor:
    """Mean of bchw over a soft region b1hw -> bc; 0 for an empty region."""
    return (features * region).sum((2, 3)) / (region.sum((2, 3)) + 1e-3)
