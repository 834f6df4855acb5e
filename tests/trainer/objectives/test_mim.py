"""Masked image modelling against a few plain lines, and what belongs to a training with it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainer.engine.tiny_training import lines, same
from tests.trainer.objectives.contrasting import Uneven, pictures
from tests.trainer.objectives.test_no_host_reads import Refuse
from trainer.data.batch import Batch
from trainer.engine.batches import parts
from trainer.engine.config import OptimConfig, RunConfig
from trainer.engine.loop import train
from trainer.engine.precision import seen_by_objectives
from trainer.masking.config import MaskingConfig
from trainer.masking.protocol import Masking, Patches
from trainer.masking.registry import make_masking
from trainer.masking.uniform import Uniform
from trainer.models.vit.autoencoder import Autoencoder
from trainer.models.vit.config import VitConfig
from trainer.models.vit.pixels import normed_pixels, pixels_of
from trainer.objectives.config import MimConfig
from trainer.objectives.mim import Mim, rank

HALF = Uniform(ratio=0.5)
SMALL = MimConfig(decoder_heads=2)
CASES = {
    "uniform": MaskingConfig(),
    "salience": MaskingConfig(kind="salience"),
    "adaptive": MaskingConfig(kind="salience", adaptive="image", ratio=0.6, spread=0.3),
    "coloured": MaskingConfig(kind="coloured"),
    "loss-guided": MaskingConfig(kind="loss-guided"),
}

FREE = ("key.bias", "judge.3.bias")
"""Parameters that drop out of what is minimised; Adam makes steps of what rounding leaves of their gradient."""


def fresh(config: MimConfig = SMALL, *, expects_losses: bool = False) -> Autoencoder:
    torch.manual_seed(0)
    vit = VitConfig(patch=4, dim=16, depth=2, heads=2, table_hw=(4, 4))
    return Autoencoder(vit, config=config, expects_losses=expects_losses)


def model_of(kind: str) -> Autoencoder:
    return fresh(expects_losses=CASES[kind].expects_losses)


def learn(
    kind: str, folder: Path | None = None, *, stop_at: int | None = None, **optim: Any
) -> Autoencoder:
    model = model_of(kind)
    options: dict[str, Any] = {"steps": 12, "warmup": 2, "log_every": 1, "checkpoint_every": 4}
    train(
        model,
        objective=Mim(SMALL, masking=make_masking(CASES[kind])),
        batch_at=pictures,
        optim=OptimConfig(**{**options, **optim}),
        run=RunConfig(device="cpu"),
        folder=folder,
        stop_at=stop_at,
    )
    return model


def hidden_of(model: Autoencoder, masking: Masking, batch: Batch) -> Tensor:
    return masking(Patches(tokens=model.embed(batch.image), grid_hw=(4, 4), chance=batch.chance))


def plainly(
    model: Autoencoder,
    masking: Masking,
    batch: Batch,
    *,
    norm_pix: bool,
    own: Sequence[int] = range(8),
) -> Tensor:
    """The loss of each sample, one after another, by indexing with what is hidden."""
    losses = []
    away = hidden_of(model, masking, batch)
    for i in own:
        hidden = away[i]
        tokens, decoder = model.embed(batch.image[i : i + 1]), model.decoder
        grid = decoder.unknown.repeat(1, 16, 1)
        grid[:, ~hidden] = decoder.enter(model.encoder.encode(tokens[:, ~hidden]))
        grid = grid + decoder.positions
        for block in decoder.blocks:
            grid = block(grid)
        said = decoder.answer(decoder.norm(grid))[0]
        errors = []
        for place in hidden.nonzero()[:, 0].tolist():
            y, x = divmod(place, 4)
            square = batch.image[i, :, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4]
            if batch.pixel_valid[i, 0, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4].min() < 1:
                continue
            if norm_pix:
                square = (square - square.mean()) / (square.var(unbiased=False) + 1e-6).sqrt()
            errors.append((said[place] - square.flatten()).square().mean())
        losses.append(torch.stack(errors).mean())
    return torch.stack(losses)


@pytest.mark.parametrize("masking", [HALF, Uneven()], ids=["even", "uneven"])
@pytest.mark.parametrize("norm_pix", [True, False])
def test_a_loss_is_that_of_each_image_alone_and_pulls_as_it_does(masking: Masking, norm_pix: bool):
    config, batch = MimConfig(norm_pix=norm_pix, decoder_heads=2), pictures(0)
    batch.pixel_valid[2, :, :5, :] = 0.0  # the two upper rows of patches, one in part
    batch.pixel_valid[3, :, 9, 2] = 0.5
    model, twin = fresh(config), fresh(config)
    step = Mim(config, masking=masking)(model, batch, 0.0)
    losses = plainly(twin, masking, batch, norm_pix=norm_pix)
    torch.testing.assert_close(step.total, losses.sum())
    assert float(step.count) == len(losses)
    step.total.backward()
    losses.sum().backward()
    for (name, ours), plain in zip(model.named_parameters(), twin.parameters(), strict=True):
        assert ours.grad is not None, name
        assert plain.grad is not None, name
        torch.testing.assert_close(ours.grad, plain.grad, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", CASES)
def test_an_image_costs_the_same_alone_and_in_any_company(kind: str):
    masking, model, batch = make_masking(CASES[kind]), model_of(kind), pictures(0)
    step = Mim(SMALL, masking=masking)(model, batch, 0.9)
    alone = [Mim(SMALL, masking=masking)(model, one, 0.9) for one in parts(batch, 8)]
    for name in ("total", "count"):
        each = torch.stack([getattr(s, name) for s in alone])
        torch.testing.assert_close(each.sum(), getattr(step, name))
    for name, value in step.parts.items():
        each = torch.stack([s.parts[name] for s in alone])
        torch.testing.assert_close(each.sum(), value, msg=lambda m, n=name: f"{n}: {m}")


def test_a_sample_of_which_nothing_can_be_asked_counts_nothing():
    batch, model = pictures(0), fresh()
    batch.pixel_valid[1] = 0.0
    step = Mim(SMALL, masking=HALF)(model, batch, 0.0)
    kept = [0, 2, 3, 4, 5, 6, 7]
    assert float(step.count) == 7.0
    torch.testing.assert_close(
        step.total, plainly(model, HALF, batch, norm_pix=True, own=kept).sum()
    )
    batch.pixel_valid.zero_()
    nothing = Mim(SMALL, masking=HALF)(model, batch, 0.0)
    nothing.total.backward()
    assert (nothing.total.item(), nothing.count.item()) == (0.0, 0.0)
    assert all(not bool(p.grad.any()) for p in model.parameters() if p.grad is not None)


def test_pixels_are_told_in_the_order_of_the_image():
    image = torch.rand(2, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    found = pixels_of(image, 4)
    assert found.shape == (2, 6, 48)
    assert torch.equal(found[1, 4], image[1, :, 4:8, 4:8].flatten())
    flat = normed_pixels(torch.full((1, 3, 4, 4), 0.7), 4)
    assert flat.abs().max() < 1e-3


def test_what_expects_losses_learns_from_pairs_and_teaches_nothing_else():
    expected = torch.tensor([[2.0, 1.0, 5.0], [0.0, 3.0, 1.0]], requires_grad=True)
    cost = torch.tensor([[0.9, 0.5, 0.1], [0.2, 0.4, 0.3]])
    asked = torch.tensor([[True, True, False], [True, True, True]])
    lost, ranked = rank(expected, cost, asked)
    plain = [
        torch.tensor([1.0]),  # dearer minus cheaper, pair by pair
        torch.tensor([3.0, 2.0, 1.0]),
    ]
    wanted = torch.stack([-p.sigmoid().log().mean() for p in plain])
    torch.testing.assert_close(lost, wanted)
    assert ranked.tolist() == [1.0, 1.0]
    lost, ranked = rank(expected, cost, torch.tensor([[True, False, False], [False] * 3]))
    assert lost.tolist() == ranked.tolist() == [0.0, 0.0]

    batch, guided, plainer = pictures(0), model_of("loss-guided"), model_of("loss-guided")
    Mim(SMALL, masking=HALF)(guided, batch, 0.0).total.backward()
    plainer.expects_losses = False
    Mim(SMALL, masking=HALF)(plainer, batch, 0.0).total.backward()
    for (name, ours), other in zip(guided.named_parameters(), plainer.parameters(), strict=True):
        if name.startswith("judge"):
            assert other.grad is None
            assert ours.grad is not None
            assert ours.grad.abs().sum() > 0 or name.endswith(FREE)
        else:
            torch.testing.assert_close(ours.grad, other.grad)


@pytest.mark.parametrize("kind", CASES)
def test_a_step_leaves_its_numbers_on_the_device(kind: str):
    batch, model = pictures(0), model_of(kind)
    with Refuse():
        step = Mim(SMALL, masking=make_masking(CASES[kind]))(model, batch, 0.5)
        (step.total / step.count.clamp(min=1e-6)).backward()
    assert all(not value.requires_grad for value in step.parts.values())
    assert all(p.grad is not None for p in model.parameters())


def test_the_log_says_what_a_masking_tells_of_itself(tmp_path: Path):
    learn("adaptive", tmp_path, steps=2)
    told = lines(tmp_path)[-1]
    assert 1 / 16 <= told["top_share"] <= 1
    assert 0 <= told["salient"] <= 1
    assert told["flat"] == 0
    assert 0.3 <= told["hidden"] <= 0.9
    assert told["asked"] == 1
    learn("loss-guided", tmp_path / "guided", steps=2)
    assert 0 <= lines(tmp_path / "guided")[-1]["ranked"] <= 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["adaptive", "loss-guided"])
def test_a_training_goes_on_where_it_was_stopped(kind: str, tmp_path: Path):
    whole = learn(kind, tmp_path / "whole")
    learn(kind, tmp_path / "parts", stop_at=5)
    resumed = learn(kind, tmp_path / "parts")
    assert same(whole, resumed)
    assert lines(tmp_path / "parts") == lines(tmp_path / "whole")


@pytest.mark.parametrize("kind", ["uniform", "adaptive", "loss-guided"])
def test_two_parts_of_a_batch_come_to_the_whole(kind: str):
    whole, cut = learn(kind, steps=3), learn(kind, steps=3, accumulate=2)
    for (name, a), b in zip(whole.named_parameters(), cut.parameters(), strict=True):
        if name.endswith(FREE):
            continue
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["uniform", "adaptive", "loss-guided"])
def test_what_is_minimised_falls_in_a_training(kind: str, tmp_path: Path):
    learn(kind, tmp_path, steps=150, warmup=10, lr=5e-3)
    log = lines(tmp_path)
    first, last = (sum(line["pixels"] for line in some) / 10 for some in (log[:10], log[-10:]))
    assert last < 0.85 * first, (first, last)
    if kind == "loss-guided":
        assert sum(line["ranked"] for line in log[-30:]) / 30 > 0.55


def test_in_bfloat16_a_step_costs_nearly_the_same():
    batch, model = pictures(0), model_of("loss-guided")
    objective = Mim(SMALL, masking=HALF)
    plain = objective(model, batch, 0.0)
    seen = seen_by_objectives(model, device_type="cpu", precision="bfloat16", compiled=False)
    step = objective(seen, batch, 0.0)
    step.total.backward()
    torch.testing.assert_close(step.total, plain.total, rtol=3e-2, atol=0)
    assert not torch.equal(step.total, plain.total)
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # dynamo looks at its inputs
def test_each_of_the_models_methods_is_one_graph_to_a_compiler():
    batch, model = pictures(0), model_of("loss-guided")
    objective = Mim(SMALL, masking=Uneven())
    plain = objective(model, batch, 0.0)
    for name in ("embed", "expect", "reconstruct"):
        compiled = torch.compile(getattr(model, name), backend="eager", fullgraph=True)
        setattr(model, name, compiled)
    step = objective(model, batch, 0.0)
    step.total.backward()
    torch.testing.assert_close(step.total, plain.total)
