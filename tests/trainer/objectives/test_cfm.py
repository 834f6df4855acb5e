"""Contrastive feature masking against a few plain lines, and what belongs to a training with it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainer.engine.tiny_training import lines, same
from tests.trainer.objectives.contrasting import SMALL, Uneven, dual, learn, pictures
from tests.trainer.objectives.test_no_host_reads import Refuse
from trainer.data.batch import Batch
from trainer.data.chance import keys, uniform
from trainer.engine.batches import parts
from trainer.engine.precision import seen_by_objectives
from trainer.masking.protocol import Masking, Patches
from trainer.masking.uniform import Uniform
from trainer.models.vit.config import VitConfig
from trainer.models.vit.dual import Dual
from trainer.models.vit.pixels import normed_pixels
from trainer.objectives.cfm import Cfm, split_by, unlike
from trainer.objectives.config import CfmConfig

THREE_QUARTERS = Uniform(ratio=0.75)


def config(**options: Any) -> CfmConfig:
    return CfmConfig(**{**SMALL, "ped": 0.0, **options})


def hidden_of(model: Dual, masking: Masking, batch: Batch) -> Tensor:
    return masking(Patches(tokens=model.embed(batch.image), grid_hw=(4, 4), chance=batch.chance))


def plainly(model: Dual, masking: Masking, batch: Batch, *, whole: bool, pixels: bool) -> Tensor:
    """The reconstruction loss of each sample, one after another, by indexing with what is hidden."""
    losses = []
    targets = normed_pixels(batch.image, 4)
    for i, hidden in enumerate(hidden_of(model, masking, batch)):
        tokens = model.embed(batch.image[i : i + 1])
        looked_at = tokens if whole else tokens[:, hidden]
        f = model.meet_image(model.encoder.encode(looked_at))[0].detach()
        f = f[hidden] if whole else f
        decoder = model.decoder
        grid = decoder.unknown.repeat(1, 16, 1)
        grid[:, ~hidden] = decoder.enter(model.encoder.encode(tokens[:, ~hidden]))
        grid = grid + decoder.positions
        for block in decoder.blocks:
            grid = block(grid)
        said = decoder.answer(decoder.norm(grid))[0, hidden]
        if pixels:
            losses.append((said - targets[i, hidden]).square().mean())
        else:
            cosines = (said * f).sum(1) / (said.norm(dim=1) * f.norm(dim=1))
            losses.append(1 - cosines.mean())
    return torch.stack(losses)


@pytest.mark.parametrize("masking", [THREE_QUARTERS, Uneven()], ids=["even", "uneven"])
@pytest.mark.parametrize(
    ("contrast", "reconstruct"),
    [("complement", "features"), ("all", "features"), ("all", "pixels")],
)
def test_what_is_reconstructed_costs_what_the_plain_lines_say_and_pulls_as_they_do(
    masking: Masking, contrast: str, reconstruct: str
):
    recipe = config(contrast=contrast, reconstruct=reconstruct)
    batch, twin = pictures(0), dual(recipe)
    grads = []
    for weight in (1.0, 2.0):
        model = dual(recipe)
        weighed = recipe.model_copy(update={"weight": weight})
        step = Cfm(weighed, masking=masking)(model, batch, 0.0)
        step.total.backward()
        grads.append({name: p.grad for name, p in model.named_parameters()})
    losses = plainly(twin, masking, batch, whole=contrast == "all", pixels=reconstruct == "pixels")
    losses.sum().backward()
    torch.testing.assert_close(step.parts["reconstruction"], losses.detach().sum())
    whole = step.parts["contrast"] + 2.0 * step.parts["reconstruction"]
    torch.testing.assert_close(step.total.detach(), whole)
    for name, plain in twin.named_parameters():
        once, twice = (g[name] for g in grads)
        assert once is not None
        assert twice is not None
        expected = torch.zeros_like(plain) if plain.grad is None else plain.grad
        torch.testing.assert_close(
            twice - once, expected, rtol=1e-3, atol=2e-4, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("reconstruct", ["features", "pixels"])
def test_patches_that_reach_beyond_the_photograph_are_not_asked_for(reconstruct: str):
    recipe = config(reconstruct=reconstruct)
    batch, model = pictures(0), dual(recipe)
    valid = torch.ones(8, 1, 16, 16)
    valid[0] = 0.0  # nothing to ask
    valid[1, :, :, :7] = 0.0  # half of the patches
    beyond = replace(batch, pixel_valid=valid)
    objective = Cfm(recipe, masking=THREE_QUARTERS)
    hidden = hidden_of(model, THREE_QUARTERS, batch)[1].unflatten(0, (4, 4))
    assert hidden[:, 2:].any()

    def cost(whole: Batch, sample: int) -> Tensor:
        one = parts(whole, 8)[sample]
        return objective(model, one, 0.0).parts["reconstruction"]

    assert cost(beyond, 0) == 0
    torch.testing.assert_close(cost(beyond, 2), cost(batch, 2))
    asked = hidden & (torch.arange(4) >= 2)
    each = cost_of_each(model, objective, parts(batch, 8)[1], hidden)
    torch.testing.assert_close(cost(beyond, 1), each[asked].mean())


def cost_of_each(model: Dual, objective: Cfm, one: Batch, hidden: Tensor) -> Tensor:
    """What each hidden patch of a single sample costs, in its place: all others are said to lie beyond."""
    costs = torch.zeros(4, 4)
    for row, column in hidden.nonzero().tolist():
        valid = torch.zeros(1, 1, 16, 16)
        valid[:, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 1.0
        step = objective(model, replace(one, pixel_valid=valid), 0.0)
        costs[row, column] = step.parts["reconstruction"]
    return costs


class Tells(Uneven):
    """Says how many patches it hides."""

    def told(self, patches: Patches) -> tuple[Tensor, dict[str, Tensor]]:
        hidden = self(patches)
        return hidden, {"hides": hidden.sum(1).float()}


def test_what_a_masking_tells_of_itself_is_logged_where_it_is_asked():
    batch = pictures(0)
    model, objective = dual(config()), Cfm(config(), masking=Tells())
    hides = objective(model, batch, 0.0).parts["hides"]
    assert hides == (7 + batch.chance % 6).sum()
    plain = config(reconstruct="none", contrast="all")
    assert "hides" not in Cfm(plain, masking=Tells())(dual(plain), batch, 0.0).parts


def test_the_same_direction_costs_nothing_a_right_angle_one_and_the_opposite_two():
    f = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0))
    right = torch.cat([f[..., 4:], -f[..., :4]], 2)
    zeros = torch.zeros(2, 3)
    torch.testing.assert_close(unlike(f, f), zeros, atol=1e-6, rtol=0)
    torch.testing.assert_close(unlike(right, f), zeros + 1, atol=1e-6, rtol=0)
    torch.testing.assert_close(unlike(-f, f), zeros + 2, atol=1e-6, rtol=0)
    torch.testing.assert_close(unlike(9 * right + f, 0.1 * f), unlike(right + f / 9, f))


def test_no_gradient_reaches_what_is_to_be_predicted():
    said, target = (torch.randn(2, 3, 8, requires_grad=True) for _ in range(2))
    unlike(said, target).sum().backward()
    assert said.grad is not None
    assert target.grad is None


class Watched(Dual):
    """Keeps what it was asked."""

    def embed(self, image: Tensor, placed: Tensor | None = None) -> Tensor:
        self.placed = [*getattr(self, "placed", []), placed]
        return super().embed(image, placed)


def watched(recipe: CfmConfig) -> Watched:
    torch.manual_seed(0)
    vit = VitConfig(patch=4, dim=16, depth=1, heads=2, table_hw=(4, 4))
    return Watched(vit, config=recipe, vocabulary=12, max_tokens=8)


def tokens_seen(model: Dual, objective: Cfm, batch: Batch) -> list[int]:
    """How many places of a list each pass through the encoder saw."""
    seen: list[int] = []
    hook = model.encoder.blocks[0].register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0].shape[1])
    )
    objective(model, batch, 0.0)
    hook.remove()
    return seen


def test_both_branches_together_see_every_patch_once():
    vit = VitConfig(patch=16, dim=16, depth=1, heads=2)
    recipe = config()
    model = Dual(vit, config=recipe, vocabulary=12, max_tokens=8)
    planes = dict.fromkeys(("mask", "label", "pixel_valid"), torch.ones(8, 1, 224, 224))
    batch = replace(pictures(0), image=torch.rand(8, 3, 224, 224), **planes)
    assert tokens_seen(model, Cfm(recipe, masking=THREE_QUARTERS), batch) == [147, 49]
    plain = config(reconstruct="none", contrast="all")
    assert tokens_seen(model, Cfm(plain, masking=THREE_QUARTERS), batch) == [196]
    costly = config(contrast="all")
    assert tokens_seen(model, Cfm(costly, masking=THREE_QUARTERS), batch) == [196, 49]


@pytest.mark.parametrize("masking", [THREE_QUARTERS, Uneven()], ids=["even", "uneven"])
def test_what_the_branches_see_is_disjoint_and_makes_up_the_grid(masking: Masking):
    model, batch = dual(config()), pictures(0)
    split = split_by(hidden_of(model, masking, batch), masking.bounds(16), (4, 4))
    for i in range(8):
        lists = [
            part.places[i] if part.real is None else part.places[i, part.real[i]]
            for part in (split.visible, split.hidden)
        ]
        assert sorted(torch.cat(lists).tolist()) == list(range(16))


def test_positions_are_dropped_for_whole_samples_once_for_both_branches():
    model, batch = watched(config(ped=0.5)), pictures(0)
    Cfm(config(ped=0.5), masking=THREE_QUARTERS)(model, batch, 0.0)
    (placed,) = model.placed
    assert placed is not None
    assert placed.shape == (8,)
    assert placed.dtype == torch.bool
    table = model.encoder.positions
    with_all = model.encoder.embed(batch.image)
    moved = with_all - model.encoder.embed(batch.image, placed)
    torch.testing.assert_close(moved, torch.where(placed[:, None, None], 0 * table, table))


def test_half_of_the_samples_lose_their_positions_whatever_the_masking_hides():
    recipe = config(ped=0.5, reconstruct="none", contrast="all", repeats="negatives")
    model = watched(recipe)
    count = 1500
    batch = little(count)
    with torch.no_grad():
        Cfm(recipe, masking=THREE_QUARTERS)(model, batch, 0.0)
    (placed,) = model.placed
    assert placed is not None
    assert float(placed.float().mean()) == pytest.approx(0.5, abs=0.05)
    masked_first = uniform(batch.chance, 1)[:, 0] >= 0.5
    assert float((placed == masked_first).float().mean()) == pytest.approx(0.5, abs=0.05)


def little(count: int) -> Batch:
    ones = torch.ones(count)
    return Batch(
        image=torch.zeros(count, 3, 4, 4), tokens=torch.full((count, 1), 3), mask=torch.zeros(count, 1, 4, 4),
        label=torch.zeros(count, 1, 4, 4), pixel_valid=torch.ones(count, 1, 4, 4),
        theta=torch.eye(2, 3).expand(count, 2, 3), weight=ones, p_clean=ones, is_gold=ones > 0,
        rows=torch.arange(count), ids=("x",) * count, chance=keys(7, range(count)),
    )  # fmt: skip


def test_no_position_is_dropped_at_zero_or_in_evaluation_and_every_one_at_one():
    batch = pictures(0)
    model = watched(config())
    for ped in (0.0, 1.0):
        objective = Cfm(config(ped=ped), masking=THREE_QUARTERS)
        objective(model, batch, 0.0)
        objective.eval()(model, batch, 0.0)
    never, evaluated, always, evaluated_too = model.placed
    assert never is evaluated is evaluated_too is None
    assert always is not None
    assert not always.any()


def test_how_a_batch_is_cut_changes_no_reconstruction():
    recipe = config(ped=0.5)
    model, objective, batch = dual(recipe), Cfm(recipe, masking=THREE_QUARTERS), pictures(0)
    whole = objective(model, batch, 0.0).parts["reconstruction"]
    cut = [objective(model, part, 0.0).parts["reconstruction"] for part in parts(batch, 4)]
    torch.testing.assert_close(torch.stack(cut).sum(), whole)


def test_a_batch_that_would_be_contrasted_in_parts_is_refused():
    with pytest.raises(ValueError, match=r"set optim\.accumulate=1"):
        Cfm(config(), masking=THREE_QUARTERS, accumulate=2)


def test_samples_of_one_text_or_one_image_are_no_negatives_unless_the_recipe_wants_them():
    batch = replace(
        pictures(0),
        tokens=torch.tensor([[2, 4]] * 2 + [[2, i] for i in range(5, 11)]),
        rows=torch.arange(8),
    )
    image_of = torch.tensor([0, 1, 2, 3, 4, 5, 5, 5])
    model = dual(config())

    def negatives(**options: Any) -> float:
        recipe = config(**{k: v for k, v in options.items() if k == "repeats"})
        objective = Cfm(recipe, masking=THREE_QUARTERS, image_of=options.get("image_of"))
        return float(objective(model, batch, 0.0).parts["negatives"])

    assert negatives(repeats="negatives", image_of=image_of) == 8 * 7
    assert negatives() == 8 * 7 - 2
    assert negatives(image_of=image_of) == 8 * 7 - 2 - 6


@pytest.mark.parametrize("contrast", ["complement", "all"])
def test_a_step_leaves_its_numbers_on_the_device(contrast: str):
    recipe = config(ped=0.5, contrast=contrast)
    model, batch = dual(recipe), pictures(0)
    objective = Cfm(recipe, masking=Uneven(), image_of=torch.arange(60) // 2)
    with Refuse():
        step = objective(model, batch, 0.3)
        (step.total / step.count).backward()
    assert all(p.grad is not None for p in model.parameters())


def test_patches_of_pixels_have_mean_zero_and_variance_one_in_the_order_of_the_grid():
    image = torch.rand(2, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    pixels = normed_pixels(image, 4)
    assert pixels.shape == (2, 6, 48)
    patch = image[1, :, 4:8, 8:12].flatten()
    torch.testing.assert_close(
        pixels[1, 5], (patch - patch.mean()) / patch.std(unbiased=False), rtol=1e-3, atol=1e-3
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["features", "pixels", "none"])
def test_a_training_goes_on_where_it_was_stopped(kind: str, tmp_path: Path):
    recipe = config(ped=0.5, reconstruct=kind)
    whole = learn(recipe, tmp_path / "whole", steps=6)
    learn(recipe, tmp_path / "parts", steps=6, stop_at=3)
    assert same(learn(recipe, tmp_path / "parts", steps=6), whole)
    assert lines(tmp_path / "parts") == lines(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["features", "pixels"])
def test_what_is_minimised_falls_in_a_training(kind: str, tmp_path: Path):
    learn(config(ped=0.5, reconstruct=kind), tmp_path, steps=100, warmup=10, lr=5e-3)
    log = lines(tmp_path)
    for part in ("loss", "contrast", "reconstruction"):
        first, last = (sum(line[part] for line in some) / 20 for some in (log[:20], log[-20:]))
        assert last < 0.8 * first, (part, first, last)


def test_in_bfloat16_a_step_costs_nearly_the_same():
    recipe = config(ped=0.5)
    batch, objective, model = pictures(0), Cfm(recipe, masking=Uneven()), dual(recipe)
    plain = objective(model, batch, 0.0)
    seen = seen_by_objectives(model, device_type="cpu", precision="bfloat16", compiled=False)
    step = objective(seen, batch, 0.0)
    step.total.backward()
    torch.testing.assert_close(step.total, plain.total, rtol=2e-2, atol=0)
    assert not torch.equal(step.total, plain.total)
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # dynamo looks at its inputs
def test_each_of_the_models_methods_is_one_graph_to_a_compiler():
    recipe = config(ped=0.5)
    batch, objective, model = pictures(0), Cfm(recipe, masking=Uneven()), dual(recipe)
    plain = objective(model, batch, 0.0)
    for name in ("embed", "meet", "scale", "fill_in"):
        backend = "aot_eager" if name == "scale" else "eager"  # scale writes to a parameter
        setattr(model, name, torch.compile(getattr(model, name), backend=backend, fullgraph=True))
    step = objective(model, batch, 0.0)
    step.total.backward()
    torch.testing.assert_close(step.total, plain.total)
    assert all(p.grad is not None for p in model.parameters())
