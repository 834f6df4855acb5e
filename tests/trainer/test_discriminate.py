"""Scores out of sample, and what stands beside the shards afterwards."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.sidecar import LABELS, WEIGHTS, read_sidecar
from tests.trainer.conftest import make_samples, write_dataset
from tests.trainer.engine.test_distributed import torchrun
from trainer.config import TrainRecipe
from trainer.data.guesses import with_guesses
from trainer.data.table import load_table, take
from trainer.data.weights import with_weights
from trainer.discriminate import discriminate
from trainer.engine.config import RunConfig
from trainer.engine.distributed import TOLD_BY_LAUNCHER
from trainer.fold_judge import ask, deal_folds, train_discriminator
from trainer.measure.label_scores import _probed, leakage_auc, measure_scores
from trainer.models.saved_judge import load_judge
from trainer.weighting.dataset import dataset_weights
from trainer.weighting.dwsl import Dwsl


def test_no_image_is_in_two_folds_and_every_fold_leaves_gold_to_learn_from(squares: Path):
    table = load_table(squares, size_hw=(16, 24))
    fold_of = deal_folds(table, folds=3, seed=0)
    for fold in range(3):
        inside = {table.shas[i] for i in np.flatnonzero(fold_of == fold)}
        outside = {table.shas[i] for i in np.flatnonzero(fold_of != fold)}
        assert inside
        assert not inside & outside
        assert bool(table.is_gold[np.flatnonzero(fold_of != fold)].any())
    assert np.bincount(fold_of).tolist() == [16, 16, 16]
    assert (deal_folds(table, folds=3, seed=1) != fold_of).any()


def test_folds_follow_images_and_not_the_order_of_samples(squares: Path):
    table = load_table(squares, size_hw=(16, 24))
    order = np.random.default_rng(0).permutation(48)
    shuffled = deal_folds(take(table, order.tolist()), folds=3, seed=0)
    assert (shuffled == deal_folds(table, folds=3, seed=0)[order]).all()


def test_too_little_gold_is_refused_with_what_to_do(tmp_path: Path):
    samples = make_samples(4, gold_every=100, spoil=0.5, seed=5)
    table = load_table(write_dataset(tmp_path / "d", samples, name="d"), size_hw=(16, 24))
    with pytest.raises(ValueError, match="at least two gold images"):
        deal_folds(table, folds=2, seed=0)


@pytest.mark.slow
def test_the_sidecar_scores_every_sample_and_its_weights_have_mean_one(
    squares: Path, recipe: TrainRecipe, tmp_path: Path
):
    facts = discriminate(squares, recipe, out=tmp_path / "folds", name="first")
    table = read_sidecar(squares, "first")
    assert table.schema.equals(WEIGHTS)
    p, weight = table["p_clean"].to_numpy(), table["weight"].to_numpy()
    machine = ~load_table(squares, size_hw=(16, 24)).is_gold.numpy()
    assert len(table) == 48
    assert ((p >= 0) & (p <= 1)).all()
    assert (weight >= 0).all()
    assert weight[machine].mean() == pytest.approx(1.0, abs=1e-5)
    stored = json.loads((squares / "sidecars" / "discriminator.json").read_text())
    assert stored == facts
    assert set(facts) == {
        "folds", "loss", "auc_gold_vs_machine", "auc_good_vs_bad", "roc", "reliability", "leakage_auc",
        "guess_iou",
    }  # fmt: skip
    asked = recipe.discriminate.model_copy(update={"eta": 0.25})
    others = {"seed": (recipe, 1), "judges": (recipe.model_copy(update={"discriminate": asked}), 0)}
    for odd, (other, seed) in others.items():  # judges that may have learnt from what they judge
        with pytest.raises(ValueError, match=f"fold-0 holds another run .{odd}"):
            discriminate(squares, other, out=tmp_path / "folds", seed=seed)
    discriminate(squares, recipe, name="second")
    assert read_sidecar(squares, "second").equals(table)
    labels = read_sidecar(squares, "first_labels")
    assert labels.schema.equals(LABELS)
    assert labels["sample_id"].equals(table["sample_id"])
    assert labels["fold"].equals(table["fold"])
    of_label = labels["p_label"].to_numpy()
    assert (of_label[machine] == p[machine]).all()
    assert (of_label[~machine] != p[~machine]).any(), "gold samples are judged by both masks"


@pytest.mark.slow
def test_the_guesses_stand_beside_the_scores_when_the_recipe_asks(
    squares: Path, recipe: TrainRecipe
):
    asked = recipe.discriminate.model_copy(update={"guesses": True})
    discriminate(squares, recipe.model_copy(update={"discriminate": asked}), name="guessing")
    table = load_table(squares, size_hw=(16, 24))
    kept = read_sidecar(squares, "guessing_guesses")
    machine = ~table.is_gold
    assert set(kept["sample_id"].to_pylist()) == {i for i, m in zip(table.ids, machine, strict=True) if m}  # fmt: skip
    corrected = with_guesses(table, squares, machine, sidecar="guessing")
    targets = corrected.frames(np.arange(48)).target
    assert torch.equal(targets[table.is_gold], table.target[table.is_gold])
    soft = targets[machine]
    assert bool(((soft > 0) & (soft < 255)).any())
    assert float(soft.float().std(0).mean()) > 0, "guesses differ among images"
    assert "guesses" not in read_sidecar(squares, "guessing").column_names


def test_without_audit_gold_what_needs_it_is_null_or_empty(squares: Path):
    table = load_table(squares, size_hw=(16, 24))
    unknown = torch.where(table.is_gold, table.label_iou, torch.nan)
    facts = measure_scores(table.is_gold.numpy(), unknown.numpy(), np.linspace(0, 1, 48))
    assert facts["auc_good_vs_bad"] is None
    assert facts["roc"] == {"fpr": [], "tpr": []}
    assert facts["reliability"] == []
    assert facts["auc_gold_vs_machine"] is not None


def test_the_measures_of_scores_that_are_right_by_construction(squares: Path):
    table = load_table(squares, size_hw=(16, 24))
    good = (table.label_iou >= 0.5).double().numpy()
    facts = measure_scores(table.is_gold.numpy(), table.label_iou.numpy(), 0.1 + 0.8 * good)
    assert facts["auc_good_vs_bad"] == 1.0
    assert [b["good_share"] for b in facts["reliability"]] == [0.0, 1.0]
    assert facts["roc"]["tpr"][-1] == 1.0


@pytest.mark.slow
def test_planted_wrong_labels_are_found_out_of_sample(tmp_path: Path, recipe: TrainRecipe):
    samples = make_samples(60, gold_every=5, spoil=0.4, seed=3)
    root = write_dataset(tmp_path / "d", samples, name="d")
    raw = recipe.model_dump()
    raw["data"]["batch"] = 16
    raw["discriminate"]["optim"] |= {"steps": 150, "warmup": 10, "lr": 4e-3}
    facts = discriminate(root, TrainRecipe.model_validate(raw))
    assert facts["auc_good_vs_bad"] > 0.9
    assert 0.2 < facts["leakage_auc"] < 0.8
    table = with_weights(load_table(root, size_hw=(16, 24)), root)
    good = table.label_iou >= 0.5
    weights = dataset_weights(table, Dwsl(f="ratio"))
    assert weights[~table.is_gold & good].mean() > 2 * weights[~table.is_gold & ~good].mean()


@pytest.mark.slow
def test_a_trained_discriminator_thinks_less_of_masks_of_other_instructions(
    tmp_path: Path, recipe: TrainRecipe
):
    """The released discriminator scores every mask of an image alike: the control that it could not pass."""
    samples = make_samples(60, gold_every=5, spoil=0.4, seed=3)
    table = load_table(write_dataset(tmp_path / "d", samples, name="d"), size_hw=(16, 24))
    raw = recipe.model_dump()
    raw["data"]["batch"] = 16
    raw["discriminate"]["optim"] |= {"steps": 300, "warmup": 10, "lr": 4e-3}
    model, tokenizer = train_discriminator(
        table, TrainRecipe.model_validate(raw), seed=0, folder=None
    )
    fresh = make_samples(20, gold_every=1, spoil=0.0, seed=4)
    test = load_table(write_dataset(tmp_path / "t", fresh, name="t"), size_hw=(16, 24))
    own = ask(model, test, tokenizer=tokenizer).p_clean
    swapped = replace(test, target=test.target.reshape(20, 2, 16, 24).flip(1).reshape(40, 16, 24))
    other = ask(model, swapped, tokenizer=tokenizer).p_clean
    assert (own > other).mean() > 0.85


def test_images_that_tell_where_they_are_from_leak_and_the_probe_says_so(squares: Path):
    table = load_table(squares, size_hw=(16, 24))
    fold_of = deal_folds(table, folds=3, seed=0)
    honest = leakage_auc(table, fold_of)
    dark = table.images.clone()
    dark[table.image_of[table.is_gold]] //= 4
    found = leakage_auc(replace(table, images=dark), fold_of)
    assert honest is not None
    assert found is not None
    assert found > 0.99 > 0.9 > honest


def test_of_many_samples_an_even_choice_is_probed():
    is_gold = np.arange(1000) % 10 == 0
    assert _probed(is_gold, most=1000).tolist() == list(range(1000))
    half = _probed(is_gold, most=100)
    assert len(set(half.tolist())) == 100
    assert is_gold[half].sum() == 50
    assert np.ptp(half) > 900
    assert is_gold[_probed(is_gold, most=400)].sum() == 100, "all there is"
    assert is_gold[_probed(~is_gold, most=400)].sum() == 100


@pytest.mark.slow
def test_judges_that_read_shards_leave_the_bytes_of_those_that_read_memory(
    squares: Path, recipe: TrainRecipe
):
    asked = recipe.discriminate.model_copy(update={"guesses": True, "confident": True})
    left = {}
    for kept in ("memory", "shards"):
        data = recipe.data.model_copy(update={"cache": kept})
        told = recipe.model_copy(update={"data": data, "discriminate": asked})
        facts = discriminate(squares, told, name="judged")
        names = ("judged", "judged_labels", "judged_guesses", "confident")
        files = [(squares / "sidecars" / f"{name}.parquet").read_bytes() for name in names]
        left[kept] = (facts, files)
    assert left["memory"] == left["shards"]


@pytest.mark.slow
def test_processes_that_torchrun_starts_judge_as_one_does(
    squares: Path, recipe: TrainRecipe, tmp_path: Path
):
    """Also where one of them has more gold; only made-up bad labels are masks of the same process."""
    asked = recipe.discriminate.model_copy(
        update={"mismatched": 0.0, "guesses": True, "confident": True}
    )
    data = recipe.data.model_copy(update={"lanes": 2})
    told = recipe.model_copy(update={"discriminate": asked, "data": data})
    (tmp_path / "told.yaml").write_text(json.dumps(told.model_dump(mode="json")))
    words = [
        "-m", "maskmix", "discriminate", str(squares), "--recipe", str(tmp_path / "told.yaml"),
        "--set", "run.device=cpu", "--out", str(tmp_path / "judges"), "--json",
    ]  # fmt: skip
    said, errors = torchrun(*words).communicate(timeout=300)
    assert errors.count("Traceback") == 0, errors[-3000:]
    two = read_sidecar(squares, "weights")
    guesses = read_sidecar(squares, "weights_guesses")
    issues = read_sidecar(squares, "confident")
    stored = json.loads((squares / "sidecars" / "discriminator.json").read_text())
    assert json.loads(said.splitlines()[-1])["leakage_auc"] == stored["leakage_auc"]
    assert said.count("leakage_auc") == 1, "one of them speaks"
    assert {p.name for p in (tmp_path / "judges").iterdir()} == {"fold-0", "fold-1"}
    assert load_judge(tmp_path / "judges" / "fold-1").size_hw == (16, 24)
    discriminate(squares, told, name="alone")
    one = read_sidecar(squares, "alone")
    for column in ("p_clean", "weight"):
        np.testing.assert_allclose(two[column], one[column], rtol=2e-3, atol=2e-3)
    for column in ("sample_id", "fold"):
        assert two[column].equals(one[column])
    alone = read_sidecar(squares, "alone_guesses")
    assert guesses["sample_id"].equals(alone["sample_id"])
    assert len(issues) == len(one) == 48
    assert float(np.std(one["p_clean"])) > 0.01, "something was learnt"


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore:`use_.*` is deprecated:DeprecationWarning")
def test_processes_of_a_ray_cluster_judge_together(
    ray_here: None, squares: Path, recipe: TrainRecipe, tmp_path: Path
):
    told = recipe.model_copy(update={"run": RunConfig(device="cpu")})
    facts = discriminate(squares, told, out=tmp_path, name="far", on="ray", workers=2)
    assert 0 <= facts["auc_good_vs_bad"] <= 1
    table = read_sidecar(squares, "far")
    assert table.schema.equals(WEIGHTS)
    assert len(table) == 48
    assert read_sidecar(squares, "far_labels")["fold"].equals(table["fold"])
    begun = json.loads((tmp_path / "fold-1" / "run.json").read_text())
    assert begun["lanes"] == 2
    again = discriminate(squares, told, out=tmp_path, name="again", on="ray", workers=1)
    assert again == facts, "judges that are there are asked again"
    with pytest.raises(ValueError, match="name a folder"):
        discriminate(squares, told, on="ray")


def test_processes_of_a_launcher_are_not_asked_for_others(
    squares: Path, recipe: TrainRecipe, monkeypatch: pytest.MonkeyPatch
):
    for name in TOLD_BY_LAUNCHER:
        monkeypatch.setenv(name, "0")
    with pytest.raises(ValueError, match="torchrun starts several"):
        discriminate(squares, recipe, workers=2)
    with pytest.raises(ValueError, match="confident_only is not for"):
        discriminate(squares, recipe, confident_only=True)
