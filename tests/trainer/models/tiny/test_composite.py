"""The composite judge at tiny size: it sees what a mask leaves of the image, and nothing else."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.trainer.models.tiny.test_discriminator import batch
from trainer.config import TrainRecipe
from trainer.data.table import load_table
from trainer.fold_judge import ask, train_discriminator
from trainer.models.judge import Composing
from trainer.models.registry import build_discriminator
from trainer.models.saved_judge import load_judge, save_judge
from trainer.models.tiny.composite import Composite
from trainer.models.tiny.encoders import TextEncoder


def judge() -> Composite:
    torch.manual_seed(0)
    text = TextEncoder(vocabulary=12, dim=16, max_tokens=8, heads=2)
    return Composite(text=text, width=8, dim=16)


def composing(recipe: TrainRecipe) -> TrainRecipe:
    model = recipe.model.model_copy(update={"judge": "composite"})
    asked = recipe.discriminate.model_copy(update={"judged": 0.5, "mismatched": 0.5})
    return recipe.model_copy(update={"model": model, "discriminate": asked})


def test_what_the_mask_hides_changes_no_verdict_and_what_it_leaves_does():
    model, b = judge(), batch()
    own = model(b.image, b.tokens, b.mask)
    assert isinstance(model, Composing)
    outside = torch.where(b.mask > 0, b.image, 1.0 - b.image)
    inside = torch.where(b.mask > 0, 1.0 - b.image, b.image)
    assert torch.equal(model(outside, b.tokens, b.mask), own)
    assert bool(((model(inside, b.tokens, b.mask) - own).abs() > 1e-4).all())
    other = model(b.image, b.tokens, b.mask.roll(1, 0))
    assert bool(((other - own).abs() > 1e-4).all())
    assert bool(((model(b.image, b.tokens.roll(1, 0), b.mask) - own).abs() > 1e-4).all())


def test_the_instructions_encoder_learns_from_the_verdict():
    model, b = judge(), batch()
    model(b.image, b.tokens, b.mask).sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in model.text.mlp.parameters())


def test_a_recipe_asks_for_it_and_it_comes_back_from_its_files(
    squares: Path, recipe: TrainRecipe, tmp_path: Path
):
    asked = composing(recipe)
    table = load_table(squares, size_hw=(16, 24))
    model, tokens = train_discriminator(table, asked, seed=0, folder=None)
    assert isinstance(model, Composite)
    save_judge(tmp_path, model, recipe=asked, tokenizer=tokens)
    again = load_judge(tmp_path)
    assert isinstance(again.judge, Composite)
    before = ask(model, table, tokenizer=tokens)
    found = ask(again.judge, table, tokenizer=again.tokenizer)
    assert (found.p_clean == before.p_clean).all()
    assert (found.p_label == before.p_label).all()
    assert np.isnan(found.guess_iou).all()
    plain = build_discriminator(recipe.model, tokens, size_hw=(16, 24))
    assert not isinstance(plain, Composite)


def test_guesses_cannot_be_had_of_it(squares: Path, recipe: TrainRecipe):
    table = load_table(squares, size_hw=(16, 24))
    model, tokens = train_discriminator(table, composing(recipe), seed=0, folder=None)
    with pytest.raises(ValueError, match=r"discriminate\.guesses needs the guess"):
        ask(model, table, tokenizer=tokens, guesses=True)
