"""Several models of one kind trained side by side on the same batches, each from parameters of its own.

For Co-teaching, which needs two: their logits are stacked, and the objective weighs each peer's losses by itself. The
first peer is the one that is saved; it has the parameters that a single model of the same seed would start from. A
step costs as much as its peers together, and so does a frozen encoder's memory; the norm of their gradients is clipped
together.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from trainer.models.protocol import Features


class Peers(nn.Module):
    """m models whose forward takes the same inputs and gives logits b1hw."""

    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)

    @property
    def first(self) -> nn.Module:
        """The model to keep."""
        return self.models[0]

    def forward(self, *inputs: Any) -> Tensor:
        """What each model takes -> logits mb1hw."""
        return torch.stack([model(*inputs) for model in self.models])

    def encode(self, *inputs: Any) -> tuple[Features, ...]:
        """What each model takes -> its features; of peers that are `trainer.models.protocol.MaskModel`."""
        masking: Any = self.models
        return tuple(model.encode(*inputs) for model in masking)

    def decode(self, features: Sequence[Features]) -> Tensor:
        """Each model's features -> logits mb1hw."""
        masking: Any = self.models
        return torch.stack([model.decode(f) for model, f in zip(masking, features, strict=True)])
