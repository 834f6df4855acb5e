"""What all methods of the comparison promise: they run, resume to the bit, and make a difference."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.trainer.weighting.little_run import Run, scored
from trainer.config import TrainRecipe
from trainer.methods import DEFAULT_METHODS, METHODS, TWICE
from trainer.weighting.config import Method
from trainer.weighting.registry import WEIGHERS


@pytest.fixture
def dwsl(recipe: TrainRecipe) -> TrainRecipe:
    """As `recipe`, weighing by dwsl; what starts late elsewhere starts within its six steps."""
    weight = {
        "method": "dwsl",
        "f": "identity",
        "forget_warmup": 0.3,
        "gmm_warmup": 0.3,
        "gmm_every": 2,
        "joint_warmup": 0.3,
        "disagree_iou": 1.0,
    }
    return TrainRecipe.model_validate({**recipe.model_dump(), "weight": weight})


def run(squares: Path, recipe: TrainRecipe, method: str) -> Run:
    return Run(root=squares, table=scored(squares), recipe=recipe, method=method)


def same(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x.nan_to_num(-1), y.nan_to_num(-1)) for x, y in pairs)


@pytest.mark.slow
@pytest.mark.parametrize("method", sorted(METHODS.keys() - {"clean-only"}))
def test_a_run_stopped_and_continued_has_the_bits_of_a_whole_one_memory_included(
    method: str, squares: Path, dwsl: TrainRecipe, tmp_path: Path
):
    little = run(squares, dwsl, method)
    model, objective = little.train()
    little.train(folder=tmp_path, stop_at=3)
    again, resumed = little.train(folder=tmp_path)
    assert same(model, again)
    assert same(objective, resumed)
    assert all(bool(p.isfinite().all()) for p in model.parameters())


REMEMBER = {"self-paced": "weigher.recent", "gmm-split": "weigher.clean", "elr": "regulariser.memory"}  # fmt: skip


@pytest.mark.parametrize("method", sorted(REMEMBER))
def test_what_a_method_remembers_changes_while_it_trains(
    method: str, squares: Path, dwsl: TrainRecipe
):
    little = run(squares, dwsl, method)
    _, objective = little.train(stop_at=1)
    _, later = little.train()
    first, last = (o.state_dict()[REMEMBER[method]] for o in (objective, later))
    assert not torch.equal(first.nan_to_num(-1), last.nan_to_num(-1))


@pytest.mark.slow
def test_machine_labels_weighed_otherwise_give_another_model(squares: Path, dwsl: TrainRecipe):
    """The released code takes weights as an argument and never uses them (`loss_weight`): this would not pass."""
    little = run(squares, dwsl, "dwsl")
    table = little.table
    constant = replace(little, table=replace(table, p_clean=torch.ones(len(table))))
    flipped = replace(little, table=replace(table, p_clean=1.0 - table.p_clean))
    models = [which.train()[0] for which in (little, constant, flipped)]
    assert not same(models[0], models[1])
    assert not same(models[0], models[2])
    uniform, _ = replace(constant, method="uniform-mixed").train()
    assert same(models[1], uniform)  # f(1) for all is plain supervised learning


@pytest.mark.slow
def test_at_a_noise_rate_of_zero_the_choosers_are_uniform(squares: Path, dwsl: TrainRecipe):
    weight = dwsl.weight.model_copy(update={"noise_rate": 0.0, "admit_start": 1.0})
    free = dwsl.optim.model_copy(update={"clip_norm": 1e9})  # peers are clipped together
    told = dwsl.model_copy(update={"weight": weight, "optim": free})
    uniform, _ = run(squares, told, "uniform-mixed").train()
    for method in ("small-loss", "importance", "co-teaching"):
        model, _ = run(squares, told, method).train()
        close = zip(model.parameters(), uniform.parameters(), strict=True)
        assert all(torch.allclose(a, b, atol=1e-5) for a, b in close), method


def test_every_method_of_a_recipe_has_a_weigher_and_a_row():
    methods = set(Method.__args__)  # pyright: ignore
    assert WEIGHERS.keys() == methods
    rows = {changes.get("weight", {"method": "dwsl"})["method"] for changes in METHODS.values()}
    assert rows == methods - {"given"}
    assert set(DEFAULT_METHODS) | set(TWICE) <= METHODS.keys()
