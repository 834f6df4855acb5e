"""What cleanlab finds, given a model that knows the answer."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.sidecar import read_sidecar, write_sidecar
from trainer.compare import missing_sidecars
from trainer.config import TrainRecipe
from trainer.data.protocol import Store
from trainer.data.table import Table, load_table
from trainer.data.tokens import learn_tokenizer
from trainer.discriminate import discriminate
from trainer.measure.confident_issues import CONFIDENT, find_issues
from trainer.models.judge import Sight
from trainer.weighting.confident import Confident, read_issues
from trainer.weighting.dataset import dataset_weights


class Knows(nn.Module):
    """Guesses the coloured square that it is asked for, by its colour."""

    def __init__(self) -> None:
        super().__init__()
        self.sure = nn.Parameter(torch.tensor(20.0))

    def look(self, image: torch.Tensor, tokens: torch.Tensor, embedding=None) -> Sight:
        red, blue = image[:, :1] - image[:, 2:], image[:, 2:] - image[:, :1]
        asked = (tokens == RED).any(1)[:, None, None, None]
        return Sight(
            image=image, tokens=tokens, guess=self.sure * (torch.where(asked, red, blue) - 0.3)
        )

    def judge(self, sight: Sight, mask: torch.Tensor) -> torch.Tensor:
        raise AssertionError("no verdict is asked for")

    def forward(
        self, image: torch.Tensor, tokens: torch.Tensor, mask: torch.Tensor, embedding=None
    ) -> torch.Tensor:
        return self.judge(self.look(image, tokens, embedding), mask)


RED = 3
"""Its id when the words are `the square red`."""


def issues(store: Store) -> tuple[np.ndarray, np.ndarray]:
    tokenizer = learn_tokenizer(["the red square", "the red", "the"])
    assert tokenizer.encode(["red"]).tolist() == [[RED]]
    return find_issues(Knows(), store, tokenizer=tokenizer)


def test_the_labels_that_name_the_other_square_are_the_issues(squares: Path):
    table = load_table(squares, size_hw=(16, 24))
    quality, share = issues(table)
    wrong = (~table.is_gold & (table.label_iou < 0.5)).numpy()
    assert 8 < wrong.sum() < 30
    assert ((share > 0.5) == wrong).all()
    assert quality[wrong].max() < quality[~wrong].min()
    assert ((quality >= 0) & (quality <= 1)).all()


def test_a_discriminator_without_a_guess_is_refused(squares: Path):
    class Silent(Knows):
        def look(self, image: torch.Tensor, tokens: torch.Tensor, embedding=None) -> Sight:
            return Sight(image=image, tokens=tokens)

    table = load_table(squares, size_hw=(16, 24))
    with pytest.raises(ValueError, match="needs the guess"):
        find_issues(Silent(), table, tokenizer=learn_tokenizer(["a"]))


@pytest.mark.slow
def test_the_sidecar_stands_beside_the_others_when_the_recipe_asks(
    squares: Path, recipe: TrainRecipe
):
    asked = recipe.discriminate.model_copy(update={"confident": True})
    with_it = recipe.model_copy(update={"discriminate": asked})
    discriminate(squares, with_it, name="whole")
    table = read_sidecar(squares, "confident")
    assert table.schema.equals(CONFIDENT)
    assert len(table) == 48
    before = (squares / "sidecars" / "whole.parquet").read_bytes()
    facts = (squares / "sidecars" / "discriminator.json").read_text()
    (squares / "sidecars" / "confident.parquet").unlink()
    again = discriminate(squares, with_it, name="whole", seed=1, confident_only=True)
    assert len(read_sidecar(squares, "confident")) == 48
    assert (squares / "sidecars" / "whole.parquet").read_bytes() == before
    assert (squares / "sidecars" / "discriminator.json").read_text() == facts
    assert json.loads(facts).keys() == again.keys()


def test_issues_are_dropped_and_gold_stays(squares: Path):
    table: Table = load_table(squares, size_hw=(16, 24))
    everything = torch.ones(48, dtype=torch.bool)
    assert torch.equal(dataset_weights(table, Confident(is_issue=everything)) > 0, table.is_gold)


def test_a_sidecar_that_lacks_a_sample_says_what_to_run(squares: Path, recipe: TrainRecipe):
    import pyarrow as pa

    table = load_table(squares, size_hw=(16, 24))
    write_sidecar(
        squares, "confident", pa.table({"sample_id": list(table.ids[1:]), "is_issue": [False] * 47})
    )
    with pytest.raises(ValueError, match="lacks 1 samples, first 'squares-000-red'"):
        read_issues(squares, table.ids)
    (squares / "sidecars" / "confident.parquet").unlink()
    with pytest.raises(ValueError, match=r"discriminate\.confident=true"):
        read_issues(squares, table.ids)
    assert "confident" in missing_sidecars(squares, recipe, ["confident", "uniform"])
    assert missing_sidecars(squares, recipe, ["elr", "uniform"]) == set()
