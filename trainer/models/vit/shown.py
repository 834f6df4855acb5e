"""The visible patches of each image as one list of a fixed length, and the way back to the grid.

Images may hide different numbers of patches (adaptive ratios). Their lists are padded to the longest that the masking
allows, which is known beforehand: no number is read from the device. The sequence in a list is that of the grid.

Letters: b samples, l patches, k places of a list, d width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """places: int64 bk, the patch that each place of a list holds. real: bool bk, False = padding; None: no padding."""

    places: Tensor
    real: Tensor | None

    def of(self, tokens: Tensor) -> Tensor:
        """The listed ones of tokens bld: bkd."""
        return tokens.gather(1, self.places[:, :, None].expand(-1, -1, tokens.shape[2]))

    def back(self, listed: Tensor, filler: Tensor, count: int) -> Tensor:
        """Listed tokens bkd in their places among l = `count` patches, bld; the others hold `filler` d."""
        b, _, d = listed.shape
        grid = filler.to(listed.dtype).expand(b, count, d)
        if self.real is not None:
            listed = torch.where(self.real[:, :, None], listed, filler.to(listed.dtype))
        return grid.scatter(1, self.places[:, :, None].expand(-1, -1, d), listed)


def show(hidden: Tensor, *, bounds: tuple[int, int]) -> Shown:
    """What stays visible of hidden bool bl, of which each row hides from bounds[0] to bounds[1] patches."""
    fewest, most = bounds
    count = hidden.shape[1]
    order = hidden.to(torch.uint8).argsort(dim=1, stable=True)[:, : count - fewest]
    real = None if fewest == most else ~hidden.gather(1, order)
    return Shown(places=order, real=real)
