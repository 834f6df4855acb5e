"""Judges that know one thing only, in the views that take it away; and a real one, whose folds are respected."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from maskmix import app
from tests.trainer.conftest import make_samples, write_dataset
from tests.trainer.models.tiny_ivm import composite_of, tokens_of
from tests.trainer.models.tiny_llava import save_llava
from trainer.config import TrainRecipe
from trainer.data.table import Table, load_table
from trainer.data.tokens import learn_tokenizer
from trainer.discriminate import discriminate
from trainer.measure.fills import FILLS
from trainer.measure.missingness import (
    AS_IS,
    BLIND,
    judge_views,
    measure_views,
    missingness,
    missingness_lines,
    others,
)
from trainer.models.judge import Composing, Sight
from trainer.models.saved_judge import SavedJudge

SIZE = (16, 24)


class OneFact(nn.Module):
    """A judge that looks at `fact` of what it is given: "shape", "pixels", "words", or "shown" under the mask."""

    def __init__(self, fact: str) -> None:
        super().__init__()
        self.fact, self.here = fact, nn.Parameter(torch.zeros(1))

    def look(self, image: Tensor, tokens: Tensor, embedding: Tensor | None = None) -> Sight:
        return Sight(image=image, tokens=tokens)

    def judge(self, sight: Sight, mask: Tensor) -> Tensor:
        columns = torch.linspace(0, 3, mask.shape[3])
        facts = {
            "shape": (mask[:, 0] * columns).mean((1, 2)),
            "pixels": (sight.image[:, 0] * columns).mean((1, 2)),
            "words": sight.tokens.double().mean(1),
            "inside": (sight.image[:, 0] * mask[:, 0]).sum((1, 2)) / (mask.sum((1, 2, 3)) + 1e-3),
        }
        return facts[self.fact]

    def forward(self, image: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        return self.judge(self.look(image, tokens), mask)


class Brightness(OneFact):
    """A judge that composes over white, and likes bright pictures."""

    def judge(self, sight: Sight, mask: Tensor) -> Tensor:
        return self.judge_shown(sight, sight.image * mask + 1 - mask)

    def judge_shown(self, sight: Sight, shown: Tensor) -> Tensor:
        return shown.mean((1, 2, 3))


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    """80 labels of 40 photographs; the left square is right, one on the right is wrong."""
    samples = make_samples(40, gold_every=100, spoil=0.0, seed=6)
    root = write_dataset(tmp_path_factory.mktemp("missing") / "d", samples, name="d")
    return load_table(root, size_hw=SIZE)


def views(table: Table, judge: nn.Module) -> dict[str, np.ndarray]:
    tokenizer = learn_tokenizer([texts[0] for texts in table.instructions], max_words=8)
    saved: Any = SavedJudge(judge=judge.eval(), tokenizer=tokenizer, size_hw=SIZE)  # type: ignore[arg-type]
    return judge_views(saved, table)


def aucs(table: Table, said: dict[str, np.ndarray]) -> dict[str, Any]:
    columns = torch.arange(SIZE[1])
    centre = (table.label.float() * columns).sum((1, 2)) / table.label.float().sum((1, 2))
    right = (centre < SIZE[1] / 2).numpy()
    return measure_views(said, right=right, images=table.shas)


def test_a_judge_of_shapes_says_the_same_whatever_is_taken_away(table: Table):
    said = views(table, OneFact("shape"))
    facts = aucs(table, said)
    assert facts["views"][AS_IS]["auc"] < 0.1, "it takes the right side for the right label"
    for view in (*BLIND, *FILLS):
        assert np.array_equal(said[view], said[AS_IS])
    assert all(row == facts["views"][AS_IS] for row in facts["views"].values())
    assert all(move["moved"] == 0 for move in facts["moves"])


def test_a_judge_of_pixels_knows_nothing_once_they_are_gone(table: Table):
    facts = aucs(table, views(table, OneFact("pixels")))["views"]
    for view in ("constant", "shape_only"):
        assert (facts[view]["auc"], facts[view]["low"], facts[view]["high"]) == (0.5, 0.5, 0.5)
    for view in ("noise", "other_image"):
        assert facts[view]["low"] <= 0.5 <= facts[view]["high"]
        assert facts[view]["low"] > 0.3


def test_a_judge_of_words_loses_them_in_shape_only(table: Table):
    said = views(table, OneFact("words"))
    for view in {*BLIND, *FILLS} - {"shape_only"}:
        assert np.array_equal(said[view], said[AS_IS])
    assert (said["shape_only"] != said[AS_IS]).all()


def test_a_judge_of_what_is_inside_hears_of_no_fill(table: Table):
    """Fills change nothing under a hard mask; another photograph and no photograph do."""
    hard = replace(table, label=(table.label > 127).to(torch.uint8) * 255)
    said = views(hard, OneFact("inside"))
    for name in FILLS:
        assert said[name] == pytest.approx(said[AS_IS])
    assert np.abs(said["other_image"] - said[AS_IS]).mean() > 0.01
    assert np.ptp(said["constant"]) < 1e-3


def test_a_judge_that_composes_is_shown_each_fill_in_place_of_white(table: Table):
    judge = Brightness("")
    assert isinstance(judge, Composing)
    assert not isinstance(OneFact("shape"), Composing)
    said = views(table, judge)
    assert said["white"] == pytest.approx(said[AS_IS], abs=1e-3), "up to 8 bits"
    facts = aucs(table, said)
    means = {name: facts["fills"][name]["p_mean"] for name in FILLS}
    assert means["white"] > means["grey"] > means["black"]
    moved = {(move["a"], move["b"]): move["moved"] for move in facts["moves"]}
    assert len(moved) == 10
    assert max(moved, key=lambda pair: moved[pair]) == ("white", "black")
    assert moved["white", "black"] == pytest.approx(means["white"] - means["black"], abs=1e-5)


def test_what_is_exchanged_is_always_another():
    rng = np.random.default_rng(0)
    keys = list("aaaaaaab")
    for _ in range(20):
        assert all(keys[other] != key for key, other in zip(keys, others(keys, rng), strict=True))
    assert len(others(["a", "a"], rng)) == 2


def test_one_photograph_cannot_be_exchanged(table: Table):
    one = replace(table, shas=("a",) * len(table))
    with pytest.raises(ValueError, match="fewer than two photographs"):
        views(one, OneFact("shape"))


def test_what_is_kept_is_the_share_of_what_is_known_above_chance():
    right = np.array([True, False] * 20)
    said = dict.fromkeys((AS_IS, *BLIND, *FILLS), np.linspace(0.1, 0.9, 40) + right)
    said["constant"] = np.full(40, 0.5)
    facts = measure_views(said, right=right, images=[str(i // 2) for i in range(40)])
    assert facts["views"][AS_IS]["auc"] == 1.0
    assert facts["views"]["noise"]["kept"] == 1.0
    assert facts["views"]["constant"]["kept"] == 0.0
    assert facts["moves"][0] == {"a": "white", "b": "grey", "moved": 0.0, "rank": 1.0}
    assert facts["views"]["constant"]["p_mean"] == 0.5
    none = dict.fromkeys(said, np.full(40, 0.5))
    flat = measure_views(none, right=right, images=["a", "b"] * 20)
    assert flat["views"]["noise"]["kept"] is None
    assert flat["moves"][0]["rank"] is None
    assert any("noise" in line for line in missingness_lines(flat | {"composes": True}))


@pytest.mark.slow
def test_the_composite_discriminator_sees_its_white_replaced(tmp_path: Path):
    folder = save_llava(tmp_path / "llava")
    samples = make_samples(4, gold_every=100, spoil=0.0, seed=6)
    table = load_table(write_dataset(tmp_path / "d", samples, name="d"), size_hw=(40, 56))
    judge: Any = composite_of(folder).eval()
    assert isinstance(judge, Composing)
    said = judge_views(
        SavedJudge(judge=judge, tokenizer=tokens_of(folder), size_hw=(40, 56)), table
    )
    assert said["white"] == pytest.approx(said[AS_IS], abs=1e-2), "up to 8 bits"
    assert np.abs(said["black"] - said["white"]).max() > 10 * np.abs(said["white"] - said[AS_IS]).max()  # fmt: skip


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Any]]:
    """A dataset, the discriminators that judged it, and what they said of it."""
    here = tmp_path_factory.mktemp("judged")
    root = write_dataset(
        here / "d", make_samples(24, gold_every=4, spoil=0.4, seed=1), name="d"
    )  # fmt: skip
    optim = {"steps": 40, "warmup": 5, "lr": 4e-3}
    recipe = TrainRecipe.model_validate(
        {
            "name": "test",
            "data": {"size_hw": SIZE, "batch": 12},
            "model": {"width": 8, "dim": 16, "depth": 1, "heads": 2},
            "discriminate": {"folds": 2, "optim": optim},
        }
    )
    return root, here / "judges", discriminate(root, recipe, out=here / "judges")


@pytest.mark.slow
def test_with_nothing_taken_away_the_scores_are_those_of_the_folds(judged: Any):
    root, judges, facts = judged
    found = missingness(root, judges=judges)
    assert found["views"][AS_IS]["auc"] == pytest.approx(facts["auc_good_vs_bad"], abs=1e-4)
    assert found == json.loads((root / "sidecars" / "weights_missingness.json").read_text())
    assert found == missingness(root, judges=judges)
    assert (found["labels"], found["images"], found["composes"]) == (36, 18, False)
    assert set(found["views"]) == {AS_IS, *BLIND}
    assert set(found["fills"]) == {*FILLS}
    said = CliRunner().invoke(app, ["missingness", str(root), "--judges", str(judges)])
    assert said.exception is None, said.exception
    assert "shape_only" in said.stdout
    told = CliRunner().invoke(app, ["missingness", str(root), "--judges", str(judges), "--json"])
    assert json.loads(told.stdout) == {"dataset": str(root), **found}


@pytest.mark.slow
def test_judges_that_may_have_learnt_from_what_they_are_asked_are_refused(
    judged: Any, tmp_path: Path
):
    root, judges, _ = judged
    for one, other in (("fold-0", "fold-1"), ("fold-1", "fold-0")):
        shutil.copytree(judges / one, tmp_path / other)
    with pytest.raises(ValueError, match="may have learnt from what it is asked about"):
        missingness(root, judges=tmp_path)
    with pytest.raises(ValueError, match="maskmix discriminate --out"):
        missingness(root, judges=tmp_path / "nowhere")
