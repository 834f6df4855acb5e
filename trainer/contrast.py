"""Images against the texts of a batch, and texts against its images: InfoNCE, both ways, each sample's own share.

`L_I2T = -log(exp(s v_i.l_i) / sum_j exp(s v_i.l_j))`, `L_T2I` with the roles exchanged, and their mean: CLIP's loss
(arXiv 2103.00020), which CFM-ViT (arXiv 2309.00775) takes over as far as we know.

Samples that say the same (one instruction, or one image with several) are no negatives of each other: to tell them
apart cannot be learnt, and in our datasets, where a few instructions stand beside many images, there are many of them.
The papers' web data has few and they count every other sample as a negative. Known on the device are the token ids that
are read, after words were dropped, and the image that a row of the dataset belongs to. That two texts mean the same, or
that an image also shows what another's text asks for, is not known; nor that it shows nothing of what its own asks
for, as some samples of our rendered tables do.

Letters: b samples of this process, a samples of all, j width of the joint space, t text tokens.
"""

import torch
import torch.nn.functional as functional
from torch import Tensor

from trainer.data.tokens import PAD

_ODD = 0x9E3779B97F4A7C15 - (1 << 64)


def info_nce(
    image: Tensor,
    text: Tensor,
    *,
    images: Tensor,
    texts: Tensor,
    scale: Tensor,
    own: Tensor,
    left_out: Tensor | None = None,
) -> Tensor:
    """The loss of each sample, float32 b: the mean of both directions.

    Args:
        image, text: bj of length 1.
        images, texts: aj, those of all processes.
        scale: 1 / temperature, a scalar.
        own: int64 b, where this process's samples stand among all.
        left_out: bool ba, pairs that are no negatives; a sample's own pair always counts.
    """
    by_image = scale * image @ texts.T
    by_text = scale * text @ images.T
    if left_out is not None:
        by_image = by_image.masked_fill(left_out, -torch.inf)
        by_text = by_text.masked_fill(left_out, -torch.inf)
    losses = [functional.cross_entropy(x, own, reduction="none") for x in (by_image, by_text)]
    return 0.5 * (losses[0] + losses[1])


def repeated(names: Tensor, all_names: Tensor, *, own: Tensor) -> Tensor:
    """bool ba: pairs of different samples that share a name.

    Args:
        names, all_names: int64 (b, m) and (a, m): m names of each sample, such as that of its text.
        own: int64 b, where this process's samples stand among all.
    """
    same = (names[:, None] == all_names[None]).any(2)
    return same.scatter(1, own[:, None], False)


def name_of_text(tokens: Tensor) -> Tensor:
    """int64 b: a name for token ids bt that does not depend on the padding behind them.

    A polynomial of the ids modulo 2^64. Two different texts share a name with a chance of about 2^-64.
    """
    powers = torch.full_like(tokens, _ODD).cumprod(1)
    return (tokens.masked_fill(tokens == PAD, 0) * powers).sum(1)
