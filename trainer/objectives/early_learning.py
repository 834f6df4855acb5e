"""Early-Learning Regularisation: stay near what was predicted before the wrong labels were learnt by heart.

ELR (arXiv 2007.00151) adds `lambda log(1 - <p, t>)` to the cross-entropy, where p is the prediction and t its running
average over visits, `t <- beta t + (1 - beta) p`: its gradient holds p at t where the label pulls away. It is no
weight, so it stands beside the weigher and adds to the losses (`Regulariser`). ADELE (arXiv 2110.03740) does a kin
thing for segmentation, by correcting labels.

For masks: a pixel has two classes, `<p, t> = p t1 + (1 - p) t0`, averaged over the pixels. Ours: t is remembered per
sample in half precision on cells of some pixels a side, and p is averaged over the same cells; gold has nothing to be
held back from, so machine samples alone pay. Augmentation moves pixels, so the memory is in the photograph's own frame:
`Batch.theta` says where each place of the batch was. What was not seen yet has t = 0 in both classes, as in ELR, and
costs log 1 = 0.
"""

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from trainer.data.batch import Batch

LEAST = 1e-4
"""p and 1 - <p, t> are kept from 0 by this."""


class EarlyLearning(nn.Module):
    """The regulariser with its memory.

    Args:
        samples: n.
        size_hw: training frame.
        weight: lambda.
        beta: how much of t stays at a visit.
        cell: side in pixels of a remembered cell.

    Raises:
        ValueError: a side of the frame is no multiple of `cell`.
    """

    row_buffers = ("memory",)
    memory: Tensor

    def __init__(
        self, *, samples: int, size_hw: tuple[int, int], weight: float, beta: float, cell: int
    ) -> None:
        super().__init__()
        if any(side % cell for side in size_hw):
            raise ValueError(
                f"weight.elr_cell: {cell}; expected a divisor of both sides of data.size_hw {size_hw}"
            )
        self.weight = weight
        self.beta = beta
        self.cell = cell
        cells = [side // cell for side in size_hw]
        self.register_buffer("memory", torch.zeros(samples, 2, *cells, dtype=torch.float16))

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        """Mask logits b1hw of a batch -> what each sample pays, b, at most 0; remembers them."""
        p = functional.avg_pool2d(logits.float().sigmoid(), self.cell).clamp(LEAST, 1.0 - LEAST)
        self._remember(p.detach(), batch)
        old = carry(self.memory[batch.rows].float(), batch.theta)
        agree = p * old[:, 1:] + (1.0 - p) * old[:, :1]
        valid = functional.avg_pool2d(batch.pixel_valid, self.cell)
        paid = torch.log(1.0 - agree.clamp(max=1.0 - LEAST)) * valid
        mean = paid.flatten(1).sum(1) / valid.flatten(1).sum(1).clamp(min=1.0)
        return self.weight * torch.where(batch.is_gold, torch.zeros_like(mean), mean)

    @torch.no_grad()
    def _remember(self, p: Tensor, batch: Batch) -> None:
        """Cells that the batch did not show whole keep what they held."""
        back = inverse(batch.theta.to(p.device))
        shown = carry(torch.cat([1.0 - p, p, torch.ones_like(p)], 1), back)
        old = self.memory[batch.rows].float()
        new = self.beta * old + (1.0 - self.beta) * shown[:, :2]
        seen = shown[:, 2:] > 0.999
        self.memory[batch.rows] = torch.where(seen, new, old).to(self.memory.dtype)


def carry(maps: Tensor, theta: Tensor) -> Tensor:
    """Maps bchw -> what stands at `theta` of each place of their frame, bilinear, 0 outside: bchw."""
    theta = theta.to(maps)
    grid = functional.affine_grid(theta, list(maps.shape), align_corners=False)
    return functional.grid_sample(maps, grid, align_corners=False)


def inverse(theta: Tensor) -> Tensor:
    """The way back: affine maps b23 whose first two columns can be inverted -> b23."""
    turn = torch.linalg.inv_ex(
        theta[:, :, :2]
    ).inverse  # `inv` would look on the host whether it can
    return torch.cat([turn, -turn @ theta[:, :, 2:]], 2)
