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
EPS = 1e-3
"""Keeps the mean over an empty region at 0."""


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

    def forward(self, features: Features, prediction: Tensor, masks: Tensor) -> Tensor:
        """k masks for each of b samples, judged together.

        Args:
            features: of b samples.
            prediction: mask logits b1hw.
            masks: bkhw in [0, 1].

        Returns:
            Verdict logits bk.
        """
        coarse = features.maps[-1].detach()
        b, k = masks.shape[:2]
        cells = coarse.shape[2], coarse.shape[3]
        guess = functional.adaptive_avg_pool2d(prediction.detach().sigmoid(), cells)
        m = functional.adaptive_avg_pool2d(masks, cells).flatten(2)
        flat = coarse.flatten(2).transpose(1, 2)
        area = m.sum(2, keepdim=True)
        covered = m @ flat
        inside = covered / (area + EPS)
        outside = (flat.sum(1, keepdim=True) - covered) / (m.shape[2] - area + EPS)
        seen = self.inside(inside)
        text = self.text(features.pooled.detach())[:, None]
        contrast = self.contrast(inside - outside)
        overlap = overlap_facts(m.flatten(0, 1), guess.flatten(1).repeat_interleave(k, 0))
        facts = [seen, contrast, seen * text, contrast * text, overlap.unflatten(0, (b, k))]
        return self.judge(torch.cat(facts, 2))[:, :, 0]
