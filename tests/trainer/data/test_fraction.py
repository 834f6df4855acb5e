"""Learning from a share of the photographs."""

import hashlib
import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from trainer.config import TrainRecipe, load, recipe_hash
from trainer.data.fraction import in_fraction
from trainer.fit import fit

SHAS = [hashlib.sha256(str(i // 3).encode()).hexdigest() for i in range(60)]  # 20 photographs


def test_the_number_of_photographs_is_exact_and_all_samples_of_one_go_together():
    for fraction, images in ((0.05, 1), (0.1, 2), (0.5, 10), (0.77, 15), (1.0, 20)):
        chosen = in_fraction(SHAS, fraction)
        assert chosen.dtype == torch.bool
        assert (
            len({sha for sha, inside in zip(SHAS, chosen.tolist(), strict=True) if inside})
            == images
        )
        assert chosen.unflatten(0, (20, 3)).float().mean(1).unique().tolist() in ([0, 1], [1])  # fmt: skip
    assert in_fraction(SHAS, 1e-9).sum() == 3  # one photograph at least


def test_a_smaller_share_is_part_of_every_larger_one_in_any_order_of_the_dataset():
    shares = [in_fraction(SHAS, fraction / 20) for fraction in range(1, 21)]
    for small, large in pairwise(shares):
        assert (small <= large).all()
        assert small.sum() < large.sum()
    assert torch.equal(in_fraction(SHAS[::-1], 0.4), in_fraction(SHAS, 0.4).flip(0))


def test_learning_from_everything_keeps_the_hash_that_a_recipe_had():
    whole, said = load("camvid"), load("camvid", ["data.fraction=1.0"])
    assert "fraction" not in whole.model_dump(mode="json")["data"]
    assert recipe_hash(whole) == recipe_hash(said)
    few = load("camvid", ["data.fraction=0.1"])
    assert recipe_hash(few) != recipe_hash(whole)
    assert TrainRecipe.model_validate(few.model_dump(mode="json")) == few
    with pytest.raises(ValueError, match=r"data\.fraction"):
        load("camvid", ["data.fraction=0"])


def test_a_fit_draws_from_the_share_alone(squares: Path, recipe: TrainRecipe, tmp_path: Path):
    drawn = {}
    for fraction in (0.5, 1.0):
        data = recipe.data.model_copy(update={"fraction": fraction})
        run = fit(squares, recipe.model_copy(update={"data": data}), out=tmp_path / str(fraction))
        facts = json.loads((run / "run.json").read_text())
        drawn[fraction] = facts["drawn"]
        assert facts["recipe"]["data"].get("fraction", 1.0) == fraction
    assert drawn == {0.5: 24, 1.0: 48}
