"""A batch that was made up, for steps whose data must cost nothing."""

import torch
from torch import Tensor

from trainer.data.batch import Batch
from trainer.data.chance import keys


def made_batch(
    image: Tensor,
    *,
    tokens: Tensor | None = None,
    mask: Tensor | None = None,
    label: Tensor | None = None,
    is_gold: Tensor | None = None,
    seed: int = 0,
) -> Batch:
    """Images b3hw in [0, 1] as a batch on their device, every sample of weight 1 and certainly clean.

    tokens: int64 bt; one token of padding when None. mask: b1hw; nothing when None. label: as mask; the mask when None.
    is_gold: bool b; none when None. seed: of what is drawn for each sample.
    """
    b, device = len(image), image.device
    plane = torch.zeros_like(image[:, :1])
    mask = plane if mask is None else mask
    ones = torch.ones(b, device=device)
    return Batch(
        image=image,
        tokens=torch.zeros(b, 1, dtype=torch.int64, device=device) if tokens is None else tokens,
        mask=mask,
        label=mask if label is None else label,
        pixel_valid=plane + 1,
        theta=torch.eye(2, 3, device=device).expand(b, 2, 3),
        weight=ones,
        p_clean=ones,
        is_gold=torch.zeros(b, dtype=torch.bool, device=device) if is_gold is None else is_gold,
        rows=torch.arange(b, device=device),
        ids=tuple(str(i) for i in range(b)),
        chance=keys(seed, range(b)).to(device),
    )
