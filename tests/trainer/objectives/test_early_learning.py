"""ELR for masks: the formula, its gradient, and a memory that lies in the photograph's frame."""

from dataclasses import replace

import pytest
import torch

from tests.trainer.objectives.little_batch import little_batch, segmenter, without_gold
from trainer.data.augment import draw, move
from trainer.data.config import AugmentConfig
from trainer.objectives.config import LossConfig
from trainer.objectives.early_learning import EarlyLearning, carry, inverse
from trainer.objectives.segmentation import Segmentation
from trainer.weighting.uniform import Uniform

BETA, WEIGHT = 0.7, 3.0


def elr(*, samples: int = 6, size: int = 32, cell: int = 4) -> EarlyLearning:
    return EarlyLearning(samples=samples, size_hw=(size, size), weight=WEIGHT, beta=BETA, cell=cell)


def test_it_is_the_papers_term_for_two_classes_averaged_over_the_cells():
    batch = without_gold(little_batch(b=2, gold=0))
    penalty = elr(samples=2)
    generator = torch.Generator().manual_seed(0)
    target = torch.zeros(2, 2, 8, 8)
    for _ in range(3):
        logits = torch.randn(2, 1, 32, 32, generator=generator)
        paid = penalty(logits, batch)
        p = torch.nn.functional.avg_pool2d(logits.sigmoid(), 4)
        both = torch.cat([1 - p, p], 1)
        target = BETA * target + (1 - BETA) * both
        expected = WEIGHT * torch.log(1 - (both * target).sum(1)).mean((1, 2))
        torch.testing.assert_close(paid, expected, atol=3e-3, rtol=3e-3)  # half precision
    assert bool((paid < 0).all())  # pyright: ignore


def test_its_gradient_pulls_the_prediction_to_what_is_remembered():
    batch = without_gold(little_batch(b=2, gold=0))
    penalty = elr(samples=2)
    believed = torch.where(batch.mask > 0, 4.0, -4.0)
    for _ in range(10):
        penalty(believed, batch)
    unsure = torch.zeros_like(believed, requires_grad=True)
    penalty(unsure, batch).sum().backward()
    assert unsure.grad is not None
    cells = torch.nn.functional.avg_pool2d(batch.mask, 4)
    whole = torch.nn.functional.interpolate((cells == 1).float(), scale_factor=4)
    none = torch.nn.functional.interpolate((cells == 0).float(), scale_factor=4)
    assert bool((unsure.grad[whole > 0] < 0).all())  # a step against it marks what was marked
    assert bool((unsure.grad[none > 0] > 0).all())


def test_gold_pays_nothing_and_neither_does_what_was_never_seen():
    batch = little_batch(b=4, gold=2)
    penalty = elr(samples=4)
    for _ in range(4):
        paid = penalty(torch.where(batch.mask > 0, 4.0, -4.0), batch)
    assert paid[:2].tolist() == [0.0, 0.0]  # pyright: ignore
    assert bool((paid[2:] < -0.5).all())  # pyright: ignore
    other = replace(batch, rows=torch.tensor([0, 1, 2, 3]))
    fresh = elr(samples=4)
    assert bool((fresh.memory == 0).all())
    assert bool((fresh(torch.zeros(4, 1, 32, 32), other)[2:] > -WEIGHT).all())


def test_a_mirrored_and_zoomed_visit_writes_to_the_place_in_the_photograph():
    """The mask of each visit is moved by augmentation; the memory must show it where the photograph has it."""
    plain = without_gold(little_batch(b=4, gold=0))
    config = AugmentConfig(scale=0.2, shift=0.1)
    penalty = elr(samples=4, cell=2)
    last = plain
    for step in range(30):
        draws = draw(step, count=4, tokens=0, own=range(4))
        image, masks, valid, theta = move(
            plain.image, plain.mask, mirror=draws.mirror < 0.5, config=config, draws=draws
        )
        last = replace(plain, image=image, mask=masks, pixel_valid=valid, theta=theta)
        penalty(torch.where(masks > 0.5, 6.0, -6.0), last)
    foreground = penalty.memory[:, 1].float()
    truth = torch.nn.functional.avg_pool2d(plain.mask, 2)[:, 0]
    known = penalty.memory.float().sum(1) > 0.5
    assert known.float().mean() > 0.9
    assert bool((foreground[known & (truth == 1)] > 0.5).float().mean() > 0.95)
    assert bool((foreground[known & (truth == 0)] < 0.5).float().mean() > 0.95)
    read = carry(penalty.memory.float(), last.theta)[:, 1:]
    shown = torch.nn.functional.avg_pool2d(last.mask, 2)
    assert ((read > 0.5) == (shown > 0.5)).float().mean() > 0.95


def test_there_and_back_is_where_one_was():
    theta = torch.tensor([[[-1 / 1.2, 0.0, 0.1], [0.0, 1 / 1.2, -0.2]]])
    line = torch.tensor([[0.3], [-0.4], [1.0]])
    there = theta[0] @ line
    back = inverse(theta)[0] @ torch.cat([there, torch.ones(1, 1)])
    assert torch.allclose(back, line[:2], atol=1e-6)


def test_it_adds_to_the_losses_that_the_weigher_has_seen_and_shows_in_the_log():
    batch, model = little_batch(), segmenter()
    with_it = Segmentation(loss=LossConfig(), weigher=Uniform(), regulariser=elr())
    plain = Segmentation(loss=LossConfig(), weigher=Uniform())
    step, base = with_it(model, batch, 0.0), plain(model, batch, 0.0)
    assert set(step.parts) == {"bce", "dice", "regulariser"}
    torch.testing.assert_close(step.total - step.parts["regulariser"], base.total)
    assert float(step.parts["regulariser"]) < 0


def test_cells_that_do_not_fit_the_frame_are_refused():
    with pytest.raises(ValueError, match="elr_cell"):
        elr(size=32, cell=5)
