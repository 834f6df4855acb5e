"""AdamW whose step can be taken back before it is taken: no number is read on the host to decide whether it counts.

The gradients of a step are sums over its samples and parts; here they are divided, once, by the sum of the weights
over the whole global batch, then clipped. Whether a step counts is a tensor: the fused AdamW takes it as `found_inf`,
the flag made for loss scaling, and leaves parameters, moments and its count of steps alone where it is 1.
"""

# pyright: reportPrivateImportUsage=false
# torch's operations over lists of tensors have no public name
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer.engine.config import OptimConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a step is worth, as scalars on the device.

    norm: of the mean gradient, before clipping. finite: bool, whether loss, weights and gradient are. counts: float32,
    1 where the step is taken: finite, and some sample has a weight.
    """

    norm: Tensor
    finite: Tensor
    counts: Tensor


class Optimiser:
    """Fused AdamW over named parameters; those of one axis (biases, norms) are not decayed.

    Args:
        parameters: name -> what is trained.
        optim: rates and limits.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], optim: OptimConfig) -> None:
        self._parameters = parameters
        self._clip_norm = optim.clip_norm
        groups = [
            {
                "params": [p for p in parameters.values() if p.ndim >= 2],
                "weight_decay": optim.weight_decay,
            },
            {"params": [p for p in parameters.values() if p.ndim < 2], "weight_decay": 0.0},
        ]
        self._adamw = torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=optim.lr,
            betas=(0.9, 0.98),
            fused=True,
        )

    def forget_gradients(self) -> None:
        """Before the first part of a batch."""
        self._adamw.zero_grad(set_to_none=True)

    @torch.no_grad()
    def step(self, *, total: Tensor, count: Tensor, averaged: int, rate: float) -> Verdict:
        """One step with the gradients of `total`, unless something is not finite or nothing has a weight.

        Args:
            total: sum of weight times loss over the global batch, a scalar.
            count: sum of the weights, a scalar.
            averaged: over how many processes the gradients are a mean; the others' samples are in the sums.
            rate: learning rate.
        """
        gradients = [p.grad for p in self._parameters.values() if p.grad is not None]
        scale = torch.where(count > 0, averaged / count, torch.zeros_like(count))
        norm = nn.utils.get_total_norm(gradients) * scale
        finite = torch.isfinite(total) & torch.isfinite(count) & torch.isfinite(norm)
        counts = (finite & (count > 0)).float()
        torch._foreach_mul_(gradients, scale * (self._clip_norm / (norm + 1e-6)).clamp(max=1.0))
        for group in self._adamw.param_groups:
            group["lr"] = rate
        self._adamw.found_inf = 1.0 - counts  # pyright: ignore[reportAttributeAccessIssue]
        self._adamw.step()
        return Verdict(norm=norm, finite=finite, counts=counts)

    def tensors(self) -> dict[str, Tensor]:
        """Moments and counts of steps as `NAME.exp_avg`, `NAME.exp_avg_sq` and `NAME.step`."""
        return {
            f"{name}.{moment}": value
            for name, parameter in self._parameters.items()
            for moment, value in self._adamw.state.get(parameter, {}).items()
        }

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up what `tensors` gave, with the layout and the device of the parameters."""
        for key, value in tensors.items():
            name, _, moment = key.rpartition(".")
            parameter = self._parameters[name]
            like = parameter if value.shape == parameter.shape else value
            kept = torch.empty_like(like, dtype=value.dtype, device=parameter.device)
            self._adamw.state[parameter][moment] = kept.copy_(value)
