"""Two kinds of machine labels by their losses: a mixture of two Gaussians, and the chance of being of the easy kind.

The division of DivideMix (arXiv 2002.07394): the losses of the whole dataset, scaled to [0, 1], are fitted with a
two-component Gaussian mixture, and a label is clean with the posterior of the component of smaller mean. DivideMix
then goes on to relabel and mix; here the posterior is the weight of the machine label, and gold counts 1.

Ours: no extra pass over the dataset. The losses are those that the steps computed anyway (augmented, so averaged over
visits), remembered per sample in a buffer. Fits start after a warm-up and come every `every` steps, the only moments
at which the host reads the memory; what they find is a buffer too, and a pure function of the memory, so a resumed run
is the same run. Samples not seen by then count 1.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainer.weighting.protocol import Context

KEPT = 0.5
"""How much of a sample's remembered loss stays when it is seen again."""
FEWEST = 8
"""Losses that a fit needs."""


class GmmSplit(nn.Module):
    """Weights of machine samples by the mixture last fitted; 1 before the first fit.

    Args:
        samples: n.
        steps: steps of the training.
        warmup: share of them before the first fit.
        every: steps between fits.
        gold_weight: weight of gold.
    """

    peers = 1
    reads_losses = True
    row_buffers = ("losses",)
    losses: Tensor
    clean: Tensor

    def __init__(
        self, *, samples: int, steps: int, warmup: float, every: int, gold_weight: float = 1.0
    ) -> None:
        super().__init__()
        self.steps = steps
        self.warmup = warmup
        self.every = every
        self.gold_weight = gold_weight
        self.register_buffer("losses", torch.full((samples,), torch.nan))
        self.register_buffer("clean", torch.ones(samples))

    def forward(self, losses: Tensor, context: Context) -> Tensor:
        """1b losses -> 1b weights."""
        step = round(context.progress * self.steps)
        if context.progress >= self.warmup and step % self.every == 0:
            self._fit()
        self._remember(losses[0], context)
        clean = self.clean[context.rows].to(losses.dtype)
        return torch.where(context.is_gold, self.gold_weight, clean).expand_as(losses)

    def _remember(self, losses: Tensor, context: Context) -> None:
        """Gold is not remembered: the mixture is of machine labels."""
        old = self.losses[context.rows]
        new = torch.where(old.isnan(), losses, KEPT * old + (1.0 - KEPT) * losses)
        keep = context.is_gold | ~torch.isfinite(losses)
        self.losses[context.rows] = torch.where(keep, old, new.float())

    def _fit(self) -> None:
        known = self.losses.isfinite()
        losses = self.losses[known].double().cpu().numpy()
        if len(losses) >= FEWEST and losses.max() > losses.min():
            found = torch.from_numpy(clean_chance(losses))
            self.clean[known] = found.to(self.clean)


def clean_chance(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """For losses n, not all equal, the posterior n of the mixture's component of smaller mean, in [0, 1].

    The mixture starts from the lower and the upper quartile, so nothing is drawn. Beyond the two means the wider
    Gaussian wins on both sides; losses out there get the posterior at the mean, so that a smaller loss is never the
    less clean one.
    """
    from sklearn.mixture import GaussianMixture

    scaled = (losses - losses.min()) / (losses.max() - losses.min())
    low, high = np.quantile(scaled, [0.25, 0.75])
    if low == high:
        low, high = 0.0, 1.0
    mixture = GaussianMixture(
        2,
        means_init=[[low], [high]],
        weights_init=[0.5, 0.5],
        precisions_init=[[[1.0 / max(float(scaled.var()), 1e-3)]]] * 2,
        max_iter=100,
        tol=1e-4,
        reg_covar=5e-4,
        random_state=0,
    ).fit(scaled[:, None])
    means = np.asarray(mixture.means_)[:, 0]
    low, high = means.min(), means.max()
    easy = int(means.argmin())
    return mixture.predict_proba(scaled.clip(low, high)[:, None])[:, easy]
