"""Discriminator-weighted supervised learning: a machine label counts f(d), d = p_clean.

IVM (arXiv 2405.19783, section 3.3) weights the loss with f of the discriminator's output; the formula of f could not
be read from what is published, so f is pluggable. What its code and its ancestor DWBC (arXiv 2207.10050) show:

- identity: d, the posterior.
- affine: 0.2 + 0.8 d, the form in the released training code.
- clip: d clipped to [0.1, 0.9], the prototype's.
- ratio: d / (1 - d) with d clipped to [0.1, 0.9]; of a plain discriminator taught on 1:1 batches the density ratio of
  human to machine labels, so the weighted machine labels stand for the human distribution. One taught by the PU loss
  says eta p_gold / p_machine, and its ratio is that of good to bad among the machine's labels.
- dwbc: 0 below d = 0.5, then the ratio; and gold by its own rule `7.5 - (0.5 / (d (1 - d)) + 1)`.

IVM weighs gold and machine samples alike by f of their own d (`gold_weight: judged`). Ours, since gold is clean for
certain: f(1). DWBC has a rule for it, which reads the gold sample's own d.

Ours: samples whose label is not believed may learn something else in its place (trainer.data.guesses), and count a
constant.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from annotators.registry import unknown
from trainer.weighting.protocol import Context

LOW, HIGH = 0.1, 0.9
DWBC_ALPHA, DWBC_ETA = 7.5, 0.5


def identity(d: Tensor) -> Tensor:
    """d."""
    return d


def affine(d: Tensor) -> Tensor:
    """0.2 + 0.8 d."""
    return 0.2 + 0.8 * d


def clip(d: Tensor) -> Tensor:
    """d in [0.1, 0.9]."""
    return d.clamp(LOW, HIGH)


def ratio(d: Tensor) -> Tensor:
    """d / (1 - d) with d in [0.1, 0.9]: from 1/9 to 9."""
    held = d.clamp(LOW, HIGH)
    return held / (1.0 - held)


def dwbc(d: Tensor) -> Tensor:
    """The ratio, and 0 below d = 0.5."""
    return torch.where(d < 0.5, torch.zeros_like(d), ratio(d))


def dwbc_gold(d: Tensor) -> Tensor:
    """DWBC's weight of an expert sample; positive for all d since alpha = 7.5 > eta / 0.09 + 1 = 6.556."""
    held = d.clamp(LOW, HIGH)
    return DWBC_ALPHA - (DWBC_ETA / (held * (1.0 - held)) + 1.0)


F: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": identity,
    "affine": affine,
    "clip": clip,
    "ratio": ratio,
    "dwbc": dwbc,
}
"""Non-decreasing maps from d in [0, 1] to a weight >= 0, elementwise."""


class Dwsl:
    """Weights f(p_clean) for machine samples and a rule for gold.

    Args:
        f: one of `F`.
        zero_below: machine samples with p_clean below this are not believed.
        corrected: how much these count; 0 where their labels are targets.
        gold_weight: weight of every gold sample; None: f(1), or DWBC's own rule; "judged": f of its own d.
    """

    peers = 1
    reads_losses = False

    def __init__(
        self,
        *,
        f: str = "ratio",
        zero_below: float = 0.0,
        corrected: float = 0.0,
        gold_weight: float | Literal["judged"] | None = None,
    ) -> None:
        if f not in F:
            raise ValueError(unknown("weight function f", f, sorted(F)))
        self.f = f
        self.zero_below = zero_below
        self.corrected = corrected
        self.gold_weight: float | Literal["judged"] | None = gold_weight

    def __call__(self, losses: Tensor, context: Context) -> Tensor:
        """mb losses -> mb weights."""
        d = context.p_clean.detach().to(losses.dtype)
        machine = F[self.f](d)
        machine = torch.where(d < self.zero_below, self.corrected, machine)
        return torch.where(context.is_gold, self._gold(d), machine).expand_as(losses)

    def _gold(self, d: Tensor) -> Tensor:
        if self.gold_weight == "judged":
            return F[self.f](d)
        if self.gold_weight is not None:
            return torch.full_like(d, self.gold_weight)
        return dwbc_gold(d) if self.f == "dwbc" else F[self.f](torch.ones_like(d))
