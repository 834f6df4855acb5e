"""A moving average of the trained parameters, kept beside them and put in their place at the end.

In one pass over all tensors, and on the device: a step that was skipped is an average with weight 0.
"""

# pyright: reportPrivateImportUsage=false
# torch's operations over lists of tensors have no public name
from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Average:
    """`average = decay * average + (1 - decay) * parameter` after every step that counts.

    Args:
        parameters: name -> what is trained.
        decay: in [0, 1); 0 keeps nothing.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], *, decay: float) -> None:
        self._decay = decay
        self._parameters = parameters if decay else {}
        self.tensors = {name: p.detach().clone() for name, p in self._parameters.items()}

    @torch.no_grad()
    def update(self, counts: Tensor) -> None:
        """Take in the parameters after a step; `counts`, a float scalar on the device, is 0 if skipped, else 1."""
        if self.tensors:
            averages = list(self.tensors.values())
            moved = torch._foreach_sub([p.detach() for p in self._parameters.values()], averages)
            torch._foreach_mul_(moved, counts * (1.0 - self._decay))
            torch._foreach_add_(averages, moved)

    @torch.no_grad()
    def put_in_place(self) -> None:
        """Make the parameters their averages."""
        for name, average in self.tensors.items():
            self._parameters[name].copy_(average)
