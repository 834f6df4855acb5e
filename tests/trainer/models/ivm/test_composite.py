"""The composite discriminator: white where the mask hides, an adapter of its own, verdicts that depend on the mask."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.trainer.models.tiny_ivm import composite_of, pair_of, tokens_of
from tests.trainer.models.tiny_llava import save_llava
from trainer.models.judge import composite_white
from trainer.use.effects import overlay

TEXTS = ["find the red square", "x"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llava(tmp_path_factory.mktemp("llava"))


def drawn(seed: int = 2) -> tuple[np.ndarray, Tensor, Tensor]:
    """A photograph as bytes and as numbers, and a soft mask."""
    rng = np.random.default_rng(seed)
    photograph = rng.integers(0, 256, (20, 30, 3), np.uint8)
    image = torch.from_numpy(photograph).permute(2, 0, 1)[None].float() / 255.0
    return photograph, image, torch.from_numpy(rng.random((1, 1, 20, 30), np.float32))


def as_bytes(image: Tensor) -> np.ndarray:
    return (image[0] * 255.0).round().permute(1, 2, 0).numpy().astype(np.uint8)


def test_compositing_is_exact_for_hard_masks() -> None:
    photograph, image, soft = drawn()
    hard = (soft > 0.5).float()
    got = as_bytes(composite_white(image, hard))
    kept = hard[0, 0].bool().numpy()
    assert (got[kept] == photograph[kept]).all()
    assert (got[~kept] == 255).all()


def test_soft_masks_mix_as_numbers_and_equal_the_overlay_effect() -> None:
    photograph, image, soft = drawn()
    got = as_bytes(composite_white(image, soft)).astype(int)
    h = soft[0, 0].numpy()[..., None]
    want = np.rint(photograph.astype(np.float64) * h + 255.0 * (1.0 - h)).astype(int)
    assert np.abs(got - want).max() <= 1  # float32 may round a half the other way
    assert (got != want).mean() < 1e-3
    shown = overlay(photograph, soft[0, 0].numpy()).astype(int)
    assert np.abs(got - shown).max() <= 1
    assert (got != shown).mean() < 1e-3


def test_a_half_mask_is_not_read_as_bytes() -> None:
    """The release's compositing views the float product's bytes as pixels: a mean of 113 came out as 47."""
    photograph, image, soft = drawn()
    half = torch.full_like(soft, 0.5)
    got = as_bytes(composite_white(image, half))
    assert abs(got.mean() - (photograph.mean() + 255.0) / 2.0) < 0.6
    flat = torch.full((1, 3, 20, 30), 113 / 255.0)
    assert (as_bytes(composite_white(flat, half)) == 184).all()
    product = np.full((20, 30, 3), 113.0, np.float32) * 0.5 + 255.0 * 0.5
    misread = np.frombuffer(product.astype(np.float32).tobytes()[: 20 * 30 * 3], np.uint8)
    assert abs(misread.mean() - got.mean()) > 50


def test_masks_of_bytes_or_of_another_shape_are_a_broken_promise() -> None:
    _, image, soft = drawn()
    for wrong in (soft > 0.5, (soft * 255).to(torch.uint8), soft[:, 0], soft[..., :-1]):
        with pytest.raises(AssertionError):
            composite_white(image, wrong)


def test_gradients_pass_the_mask() -> None:
    _, image, soft = drawn()
    soft.requires_grad_()
    composite_white(image, soft).sum().backward()
    assert soft.grad is not None
    torch.testing.assert_close(soft.grad, (image - 1.0).sum(1, keepdim=True))


@pytest.mark.slow
def test_the_verdict_depends_on_mask_image_and_text(folder: Path) -> None:
    judge, tokens = composite_of(folder).eval(), tokens_of(folder)
    image = torch.rand(2, 3, 40, 56)
    rows = tokens.encode(TEXTS)
    mask = torch.zeros(2, 1, 40, 56)
    mask[:, :, :20] = 1.0
    verdict = judge(image, rows, mask)
    assert verdict.shape == (2,)
    for other in (
        judge(image, rows, 1.0 - mask),
        judge(image, rows, mask * 0.5),
        judge(image.flip(2), rows, mask),
        judge(image, tokens.encode(TEXTS[::-1]), mask),
    ):
        assert (other - verdict).abs().min() > 1e-5
    hidden = image * mask + torch.rand_like(image) * (1.0 - mask)
    torch.testing.assert_close(judge(hidden, rows, mask), verdict)


@pytest.mark.slow
def test_a_batch_of_verdicts_equals_single_ones_and_looks_can_be_picked(folder: Path) -> None:
    judge, tokens = composite_of(folder).eval(), tokens_of(folder)
    image, mask = torch.rand(2, 3, 40, 56), torch.rand(2, 1, 40, 56)
    with torch.no_grad():
        together = judge(image, tokens.encode(TEXTS), mask)
        sight = judge.look(image, tokens.encode(TEXTS))
        assert sight.guess is None
        picked = judge.judge(sight.pick(torch.tensor([False, True])), mask[1:])
        torch.testing.assert_close(picked, together[1:], atol=1e-5, rtol=1e-5)
        for i, text in enumerate(TEXTS):
            alone = judge(image[i : i + 1], tokens.encode([text]), mask[i : i + 1])
            torch.testing.assert_close(together[i : i + 1], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_generator_and_discriminator_share_what_is_frozen_and_train_apart(folder: Path) -> None:
    model, judge = pair_of(folder)
    mine = {id(p) for p in model.parameters() if p.requires_grad}
    its = {id(p) for p in judge.parameters() if p.requires_grad}
    assert mine
    assert its
    assert not mine & its
    assert {id(p) for p in judge.parameters()} - its <= {id(p) for p in model.parameters()} - mine
    image, rows = torch.rand(2, 3, 40, 56), tokens_of(folder).encode(TEXTS)
    logits = model(image, rows)
    judge(image, rows, logits.detach().sigmoid()).sum().backward()
    assert all(p.grad is None for p in model.parameters() if id(p) in mine)
    assert any(p.grad is not None and p.grad.any() for p in judge.lmm.parameters())
    judge.zero_grad(set_to_none=True)
    logits.square().mean().backward()
    assert all(p.grad is None for p in judge.parameters())
    assert any(p.grad is not None and p.grad.any() for p in model.lmm.parameters())
    frozen = [p for p in model.parameters() if id(p) not in mine]
    assert all(p.grad is None for p in frozen)


@pytest.mark.slow
def test_steps_teach_it_to_tell_masks_apart(folder: Path) -> None:
    judge, rows = composite_of(folder), tokens_of(folder).encode(TEXTS * 2)
    image = torch.rand(2, 3, 40, 56).repeat(2, 1, 1, 1)  # so that only the mask tells good from bad
    mask = torch.zeros(4, 1, 40, 56)
    mask[:2, :, :, :28] = 1.0
    mask[2:, :, :, 28:] = 1.0
    good = torch.tensor([1.0, 1.0, 0.0, 0.0])
    optimiser = torch.optim.AdamW([p for p in judge.parameters() if p.requires_grad], lr=3e-3)
    losses = []
    for _ in range(40):
        verdict = judge(image, rows, mask)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(verdict, good)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
