"""One stage: the head learns from the labels, the segmenter from the weighted masks, and neither from the other's."""

import pytest
import torch
from torch import Tensor

from tests.trainer.objectives.little_batch import little_batch, segmenter, without_gold
from trainer.losses import bce_per_sample, dice_per_sample
from trainer.models.light_head import LightHead
from trainer.objectives.config import DiscriminateConfig, LossConfig
from trainer.objectives.joint import Joint
from trainer.objectives.segmentation import Segmentation
from trainer.weighting.dwsl import Dwsl, ratio
from trainer.weighting.uniform import Uniform


def joint(*, warmup: float = 0.1, **judge: float) -> Joint:
    torch.manual_seed(3)
    head = LightHead(channels=32, text_dim=16)
    config = DiscriminateConfig.model_validate({"judged": 0.5, **judge})
    return Joint(loss=LossConfig(), judge=config, head=head, weigher=Dwsl(f="ratio"), warmup=warmup)


def test_what_the_head_pays_gives_the_segmenter_no_gradient():
    """In the prototypes the likelihood of the label was not detached, and the verdict trained the generator."""
    model, objective, batch = segmenter(), joint(), little_batch()
    with_verdict = objective(model, batch, 0.5)
    (with_verdict.total / with_verdict.count).backward()
    grads = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    other = joint(mismatched=7.0, judged=9.0)
    other.head.load_state_dict(objective.head.state_dict())
    model.zero_grad()
    step = other(model, batch, 0.5)
    (step.total / step.count).backward()
    assert float(step.parts["verdict"]) != float(with_verdict.parts["verdict"])
    for name, p in model.named_parameters():
        if name in grads:
            torch.testing.assert_close(p.grad, grads[name], atol=1e-6, rtol=1e-5)
    assert any(bool(g.any()) for g in grads.values())


def test_the_mask_loss_gives_the_head_no_gradient():
    model, objective, batch = segmenter(), joint(), little_batch()
    pieces = []
    for loss in (LossConfig(), LossConfig(bce=5.0, dice=0.0)):
        objective.loss = loss
        objective.head.zero_grad()
        step = objective(model, batch, 0.5)
        (step.total / step.count).backward()
        pieces.append([p.grad.clone() for p in objective.head.parameters() if p.grad is not None])
    assert any(bool(g.any()) for g in pieces[0])
    for a, b in zip(*pieces, strict=True):
        torch.testing.assert_close(a, b, atol=1e-7, rtol=1e-4)


def test_weights_are_f_of_the_verdicts_and_one_during_the_warm_up():
    model, objective, batch = segmenter(), joint(warmup=0.3), little_batch()
    features = model.encode(batch.image, batch.tokens)
    logits = model.decode(features)
    losses = bce_per_sample(logits, batch.mask, batch.pixel_valid)
    losses = losses + dice_per_sample(logits, batch.mask, batch.pixel_valid)
    d = objective.head(features, logits, batch.mask)[:, 0].sigmoid()
    assert d.std() > 1e-3
    weights = torch.where(batch.is_gold, 9.0, ratio(d))
    late = objective(model, batch, 0.3)
    torch.testing.assert_close(late.count, weights.sum())
    torch.testing.assert_close(late.total - late.parts["verdict"], (weights * losses).sum())
    early = objective(model, batch, 0.29)
    plain = Segmentation(loss=LossConfig(), weigher=Uniform())(model, batch, 0.29)
    assert torch.equal(early.count, plain.count)
    torch.testing.assert_close(early.total - early.parts["verdict"], plain.total)


def head_on(masks: Tensor) -> Tensor:
    model, batch = segmenter(), little_batch()
    features = model.encode(batch.image, batch.tokens)
    head = joint().head
    return head(features, model.decode(features), masks)


def test_masks_judged_together_get_what_they_get_alone():
    batch = little_batch()
    both = head_on(torch.cat([batch.mask, batch.mask.roll(1, 0)], 1))
    alone = torch.cat([head_on(batch.mask), head_on(batch.mask.roll(1, 0))], 1)
    torch.testing.assert_close(both, alone)


def test_the_light_head_sees_the_mask():
    batch = little_batch()
    own = head_on(batch.mask)
    assert own.shape == (6, 1)
    for other in (batch.mask.roll(1, 0), torch.zeros_like(batch.mask), torch.ones_like(batch.mask)):
        assert bool(((head_on(other) - own).abs() > 1e-4).all())
    assert sum(p.numel() for p in joint().head.parameters()) < 10_000


@pytest.mark.parametrize("loss", ["pu", "bce"])
def test_a_batch_without_gold_gives_finite_numbers(loss: str):
    objective = joint()
    objective.judge = objective.judge.model_copy(update={"loss": loss})
    step = objective(segmenter(), without_gold(little_batch()), 0.9)
    assert bool(torch.isfinite(step.total))
    assert set(step.parts) == {"bce", "dice", "verdict", "d_gold", "d_machine"}


@pytest.mark.slow
def test_the_head_learns_which_masks_belong_to_their_images():
    """Machine labels of half of the samples are another's mask; the head alone is trained."""
    model, objective = segmenter(), joint(mismatched=0.5)
    optimiser = torch.optim.AdamW(objective.head.parameters(), lr=5e-3)
    trained = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for step in range(150):
        batch = little_batch(b=10, gold=5, seed=step)
        machine = torch.arange(10) >= 7
        batch.mask[machine] = batch.mask[machine].roll(1, 0)
        batch.label.copy_(batch.mask)
        result = objective(model, batch, 0.0)
        optimiser.zero_grad()
        trained.zero_grad()
        (result.total / result.count).backward()
        optimiser.step()
        trained.step()
    fresh = little_batch(b=10, gold=0, seed=1000)
    with torch.no_grad():
        features = model.encode(fresh.image, fresh.tokens)
        logits = model.decode(features)
        right = objective.head(features, logits, fresh.mask)
        wrong = objective.head(features, logits, fresh.mask.roll(1, 0))
    assert (right > wrong).float().mean() >= 0.9
    assert right.mean() > wrong.mean() + 1.0
