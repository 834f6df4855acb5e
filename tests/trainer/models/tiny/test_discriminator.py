"""The discriminator sees the mask, and what it learns stays apart from what the generator learns."""

from dataclasses import replace

import pytest
import torch

from trainer.data.batch import Batch
from trainer.losses import soft_iou
from trainer.models.tiny.discriminator import Discriminator, overlap_facts
from trainer.models.tiny.encoders import ImageEncoder
from trainer.models.tiny.segmenter import Segmenter
from trainer.objectives.config import DiscriminateConfig, LossConfig
from trainer.objectives.label_quality import LabelQuality
from trainer.objectives.segmentation import Segmentation
from trainer.weighting.dwsl import Dwsl
from trainer.weighting.uniform import Uniform


def models() -> tuple[Discriminator, Segmenter]:
    torch.manual_seed(0)
    guesser = Segmenter(
        image=ImageEncoder(width=8), vocabulary=12, max_tokens=8, dim=16, depth=1, heads=2
    )
    return Discriminator(guesser=guesser, width=8, dim=16), guesser


def batch(p_clean: torch.Tensor | None = None) -> Batch:
    generator = torch.Generator().manual_seed(1)
    mask = torch.zeros(4, 1, 16, 24)
    for i in range(4):
        mask[i, :, 2 * i : 2 * i + 8, 4 * i : 4 * i + 8] = 1.0
    return Batch(
        image=torch.rand(4, 3, 16, 24, generator=generator),
        tokens=torch.tensor([[2, 3], [4, 5], [6, 7], [8, 9]]),
        mask=mask,
        label=mask,
        pixel_valid=torch.ones(4, 1, 16, 24),
        theta=torch.eye(2, 3).expand(4, 2, 3),
        weight=torch.ones(4),
        p_clean=torch.full((4,), 0.5) if p_clean is None else p_clean,
        rows=torch.arange(4),
        is_gold=torch.tensor([True, True, False, False]),
        ids=("a", "b", "c", "d"),
        chance=torch.arange(4),
    )


def test_the_verdict_changes_with_the_mask_and_is_not_constant():
    model, _ = models()
    b = batch()
    own = model(b.image, b.tokens, b.mask)
    assert own.shape == (4,)
    assert own.std() > 0
    for other in (b.mask.roll(1, 0), torch.zeros_like(b.mask), torch.ones_like(b.mask)):
        assert bool(((model(b.image, b.tokens, other) - own).abs() > 1e-4).all())


def test_the_verdict_sees_a_mask_even_where_it_does_not_touch_the_overlap_numbers():
    model, _ = models()
    b = batch()
    # a guess that is 0.5 everywhere: moving the mask keeps all overlap numbers
    guess = torch.zeros_like(b.mask)
    moved = b.mask.roll(8, 3)
    assert torch.equal(
        overlap_facts(b.mask, guess.sigmoid()), overlap_facts(moved, guess.sigmoid())
    )
    sight = replace(model.look(b.image, b.tokens), guess=guess)
    difference = model.judge(sight, b.mask) - model.judge(sight, moved)
    assert bool((difference.abs() > 1e-5).all())


def test_the_discriminators_verdict_gives_no_gradient_to_its_guesser():
    model, guesser = models()
    objective = LabelQuality(config=DiscriminateConfig(guess=0.0, judged=0.5))
    objective(model, batch(), 0.0).total.backward()
    assert all(p.grad is None or not bool(p.grad.any()) for p in guesser.parameters())
    assert any(p.grad is not None and bool(p.grad.any()) for p in model.head.parameters())


def test_stage_two_gives_no_gradient_to_the_discriminator():
    model, _ = models()
    generator = Segmenter(
        image=ImageEncoder(width=8), vocabulary=12, max_tokens=8, dim=16, depth=1, heads=2
    )
    b = batch()
    live = model(b.image, b.tokens, b.mask).sigmoid()
    step = Segmentation(loss=LossConfig(), weigher=Dwsl(f="ratio"))(generator, batch(live), 0.0)
    step.total.backward()
    assert all(p.grad is None for p in model.parameters())
    assert any(p.grad is not None and bool(p.grad.any()) for p in generator.parameters())


def test_stage_two_is_the_plain_mean_for_a_constant_belief_of_machine_labels():
    _, generator = models()
    b = batch()
    machine = replace(b, is_gold=torch.zeros(4, dtype=torch.bool))
    weighted = Segmentation(loss=LossConfig(), weigher=Dwsl(f="affine"))(generator, machine, 0.0)
    plain = Segmentation(loss=LossConfig(), weigher=Uniform())(generator, machine, 0.0)
    torch.testing.assert_close(weighted.total / weighted.count, plain.total / plain.count)


def test_soft_iou_of_known_masks():
    a = torch.zeros(3, 1, 4, 4)
    b = torch.zeros(3, 1, 4, 4)
    a[0, :, :2], b[0, :, 1:3] = 1, 1  # one row of three shared
    a[1] = 1
    assert soft_iou(a, b).tolist() == pytest.approx([1 / 3, 0.0, 1.0])
