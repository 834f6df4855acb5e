"""Losses per sample: BCE + Dice for masks, and the discriminator's PU and plain forms.

Segmentation is the loss of IVM (arXiv 2405.19783; its code follows LISA, arXiv 2308.00692): per sample the mean BCE
plus `1 - (2 sum(p H) + e) / (sum p + sum H + e)`, linear denominator. LISA divides its sums by 1000 for half
precision and adds e = 1e-6; that is an e of 1e-3 pixels, which makes an empty target a cliff (a prediction of 0.0025
everywhere costs the whole unit). Here e is `DICE_EPS` of the frame's pixels: for an empty target the loss falls
smoothly to 0 as the prediction empties, and for targets of more than a few pixels it changes nothing that matters.
Dice is not minimised at p = H for soft H; the sum with BCE is biased towards saturation too (H = 0.5: p = 0.599).

Everything returns shape (b,); `weighted_sum` is the only reduction, and it refuses weights of another shape, since
(b, 1) times (b,) broadcasts to (b, b) and the weighting silently vanishes.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as functional
from torch import Tensor

DICE_EPS = 1e-3
"""Dice smoothing as a share of the valid pixels."""
SAME = 0.5
"""IoU from which a mask counts as the same region."""


def bce_per_sample(logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean binary cross-entropy over the valid pixels: logits, target in [0, 1] and valid b1hw -> b."""
    loss = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (loss * valid).flatten(1).sum(1) / valid.flatten(1).sum(1).clamp(min=1.0)


def dice_per_sample(
    logits: Tensor, target: Tensor, valid: Tensor, *, eps: float = DICE_EPS
) -> Tensor:
    """One minus the soft Dice over the valid pixels, in [0, 1]: b1hw -> b. `eps` is a share of the valid pixels."""
    p, h, v = (x.flatten(1) for x in (logits.sigmoid(), target, valid))
    smooth = eps * v.sum(1)
    smooth = smooth.clamp(min=eps)  # a frame without a valid pixel gives 0, not 0 / 0
    both = (p * h * v).sum(1)
    return 1.0 - (2.0 * both + smooth) / ((p * v).sum(1) + (h * v).sum(1) + smooth)


def weighted_sum(losses: Tensor, weights: Tensor) -> Tensor:
    """`sum(w * l)` of the losses and weights of m peers, both mb; a sample of weight 0 adds nothing, not even NaN.

    What divides it is the sum of the weights over the whole step (trainer.engine.loop). The official code takes
    `mean(w * l)`, which shrinks the learning rate by the mean weight.

    Raises:
        ValueError: losses and weights are not of one shape (m, b).
    """
    if losses.ndim != 2 or weights.shape != losses.shape:
        raise ValueError(
            f"losses of shape {tuple(losses.shape)} and weights of {tuple(weights.shape)}; expected both (m, b), m "
            "peers: a (b, 1) weight would broadcast to (b, b) and average the weighting away"
        )
    weights = weights.detach()
    return (torch.where(weights > 0, losses, torch.zeros_like(losses)) * weights).sum()


def pu_loss(logits: Tensor, is_gold: Tensor, *, eta: float, non_negative: bool) -> Tensor:
    """Positive-unlabelled risk: gold labels are positive, machine labels a mixture with a share `eta` of good ones.

    `eta E_P[-log d] + E_U[-log(1 - d)] - eta E_P[-log(1 - d)]` with d = sigmoid(logits) (DWBC, arXiv 2207.10050, up to
    its factor 1 / eta); minimised by d = eta p_P / p_U, the probability that a machine label is good. With
    `non_negative` the last two terms together are clamped at 0 (Kiryo et al., arXiv 1703.00593).

    Args:
        logits: b, before the sigmoid.
        is_gold: bool b.
        eta: share of good labels among the machine's, in (0, 1).
        non_negative: clamp the risk of the bad part.
    """
    as_good, as_bad = functional.softplus(-logits), functional.softplus(logits)
    good = mean_where(as_good, is_gold)
    bad = mean_where(as_bad, ~is_gold) - eta * mean_where(as_bad, is_gold)
    return eta * good + (bad.clamp(min=0.0) if non_negative else bad)


def plain_bce_loss(logits: Tensor, is_gold: Tensor) -> Tensor:
    """`E_gold[-log d] + E_machine[-log(1 - d)]`, halved: each side counts the same, whatever its number. b -> ()."""
    good = mean_where(functional.softplus(-logits), is_gold)
    bad = mean_where(functional.softplus(logits), ~is_gold)
    return 0.5 * (good + bad)


def mean_where(values: Tensor, chosen: Tensor) -> Tensor:
    """Mean of the b values that are chosen (bool b); 0 where none is."""
    return (values * chosen).sum() / chosen.sum().clamp(min=1)


def known_verdicts(
    judge: Callable[[Sequence[Tensor]], Sequence[Tensor]],
    *,
    own: Tensor,
    label: Tensor,
    gold: Tensor,
    mismatched: float,
    judged: float,
) -> Tensor:
    """What a discriminator pays for masks whose worth is known, beside the labels of its batch: a scalar.

    Args:
        judge: some masks, each b1hw, -> verdict logits, each b, on the same b images and instructions.
        own: b1hw, the targets; those of gold samples are right.
        label: b1hw, the machine's labels.
        gold: bool b; only gold samples are asked about.
        mismatched: weight of the gold mask before in the batch as a bad label, where it is another region.
        judged: weight of the machine's own label, good where its IoU with gold is at least `SAME`.
    """
    other = own.roll(1, 0)
    masks = {"mismatched": other} if mismatched else {}
    masks |= {"judged": label} if judged else {}
    logits = dict(zip(masks, judge(list(masks.values())), strict=True)) if masks else {}
    total = own.new_zeros(())
    if mismatched:
        wrong = (soft_iou(other, own) < SAME) & gold.roll(1, 0)
        paid = functional.softplus(logits["mismatched"]) * wrong
        total = total + mismatched * mean_where(paid, gold)
    if judged:
        good = (soft_iou(label, own) >= SAME).to(own.dtype)
        paid = functional.binary_cross_entropy_with_logits(logits["judged"], good, reduction="none")
        total = total + judged * mean_where(paid, gold)
    return total


def soft_iou(a: Tensor, b: Tensor) -> Tensor:
    """sum min / sum max of two b1hw in [0, 1] -> b; two empty masks give 1."""
    low = torch.minimum(a, b).flatten(1).sum(1)
    high = torch.maximum(a, b).flatten(1).sum(1)
    return torch.where(high > 0, low / high.clamp(min=1e-6), torch.ones_like(high))
