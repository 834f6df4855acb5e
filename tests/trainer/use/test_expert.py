"""A trained model as an expert: what every expert promises, and that folds never answer for what they learnt."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from annotators.candidate import expert_key
from annotators.models.encodings import pixels_key
from annotators.registry import known_experts, make_expert
from tests.annotators.models.scenes import LANDSCAPE, ODD, PORTRAIT, keeps_the_contract, said
from trainer.config import TrainRecipe
from trainer.fit import fit
from trainer.use.expert import TrainedExpert
from trainer.use.folds import FOLDS, write_folds
from trainer.use.predictor import Predictor

TEXTS = ("the red square", "find the blue one")


@pytest.fixture(scope="module")
def runs(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two models of other seeds, with a licence."""
    raw = {
        "name": "test",
        "data": {"size_hw": (16, 24), "batch": 4},
        "model": {"width": 8, "dim": 16, "depth": 1, "heads": 2},
        "optim": {"steps": 2},
    }
    folder = tmp_path_factory.mktemp("runs")
    made = [
        fit(squares, TrainRecipe.model_validate(raw), out=folder / str(seed), seed=seed)
        for seed in (0, 1)
    ]
    for run in made:
        (run / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    return made


@pytest.fixture
def folds(runs: list[Path], tmp_path: Path) -> Path:
    """Both models, each without one picture; ODD is in no fold."""
    for k, run in enumerate(runs):
        shutil.copytree(run, tmp_path / f"fold-{k}")
    write_folds(tmp_path, {pixels_key(LANDSCAPE): 0, pixels_key(PORTRAIT): 1}, folds=2)
    return tmp_path


def trained(model: Path, **options: object) -> TrainedExpert:
    return TrainedExpert(model=str(model), **{"threshold": 0.1, **options})  # type: ignore[arg-type]


def test_it_is_known_by_its_entry_point_and_made_without_weights():
    assert "trained" in known_experts()
    assert make_expert("trained", {"model": "no/such"}).name == "trained"


@pytest.mark.slow
def test_the_contract_holds(runs):
    keeps_the_contract(lambda: trained(runs[0]))


def test_the_contract_holds_when_rows_are_asked_two_at_a_time(runs):
    keeps_the_contract(lambda: trained(runs[0], batch_size=2))


def test_a_mask_is_the_probability_of_the_predictor_cut(runs):
    soft = Predictor.from_pretrained(runs[0]).predict(ODD, TEXTS[0])
    middle = float(np.median(soft))
    (found,) = trained(runs[0], threshold=middle).segment_text([ODD], [said(TEXTS[0])])[0]
    assert (found.mask.array() == (soft >= middle)).all()
    assert found.mask_score == pytest.approx(soft[soft >= middle].mean())
    wanted = (soft >= middle + 0.05).sum() / (soft >= middle - 0.05).sum()
    assert found.stability == pytest.approx(wanted)


def test_without_a_threshold_the_model_says_where_to_cut(runs):
    soft = Predictor.from_pretrained(runs[0]).predict(ODD, TEXTS[0])
    found = trained(runs[0], threshold=None).segment_text([ODD], [said(TEXTS[0])])[0]
    assert [c.mask.area() for c in found] == [n for n in [int((soft >= 0.5).sum())] if n]


def test_each_picture_is_answered_by_the_model_that_has_not_learnt_from_it(runs, folds):
    images = [LANDSCAPE, PORTRAIT, ODD]
    alone = [trained(run).segment_text(images, [said(TEXTS[0])] * 3) for run in runs]
    assert alone[0] != alone[1], "the models must differ for this to mean anything"
    found = trained(folds).segment_text(images, [said(TEXTS[0])] * 3)
    for image, fold in ((0, 0), (1, 1)):
        (mine,), (theirs,) = found[image], alone[fold][image]
        assert mine.mask == theirs.mask
        assert mine.made_by.revision == theirs.made_by.revision
        assert mine.made_by.model == f"{folds}/fold-{fold}"


def test_a_picture_that_no_fold_knows_is_answered_by_the_mean_of_all(runs, folds):
    (found,) = trained(folds).segment_text([ODD], [said(TEXTS[1])])[0]
    mean = np.mean([Predictor.from_pretrained(run).predict(ODD, TEXTS[1]) for run in runs], axis=0)
    assert found.mask_score == pytest.approx(mean[mean >= 0.1].mean(), abs=1e-6)
    assert (found.made_by.model, found.made_by.revision) == (
        str(folds),
        trained(folds).identity.revision,
    )


def test_the_folds_of_a_folder_have_one_vote(folds):
    found = trained(folds).segment_text([LANDSCAPE, PORTRAIT], [said(TEXTS[0])] * 2)
    assert len({expert_key(row[0].made_by) for row in found}) == 1


def test_the_folds_keep_the_contract_in_batches(folds):
    images, texts = [LANDSCAPE, PORTRAIT, ODD, PORTRAIT], [said(t) for t in (*TEXTS, *TEXTS)]
    together = trained(folds).segment_text(images, texts)
    for image, text, row in zip(images, texts, together, strict=True):
        assert trained(folds).segment_text([image], [text])[0] == row


def test_other_weights_are_another_identity(runs, folds):
    first, second = (trained(run).identity for run in runs)
    assert first.revision != second.revision
    assert first.config_hash != second.config_hash
    assert trained(folds).identity.revision not in (first.revision, second.revision)
    assert trained(runs[0], device="cpu", batch_size=3).identity == first
    assert trained(runs[0], revision=first.revision).identity == first
    assert trained(runs[0], threshold=0.3).identity.config_hash != first.config_hash


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.0}, "inside"),
        ({"threshold": 0.5, "spread": 0.5}, "inside"),
        ({"batch_size": 0}, "at least 1"),
    ],
)
def test_a_wrong_option_is_refused_at_once(options, message):
    with pytest.raises(ValueError, match=message):
        TrainedExpert(model="no/such", **options)


def test_what_is_no_model_is_refused_by_name(runs, folds, tmp_path_factory):
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(ValueError, match="holds no trained model"):
        _ = trained(empty).identity
    with pytest.raises(ValueError, match="no such file or folder"):
        _ = trained(Path("nowhere.at.all")).identity
    with pytest.raises(ValueError, match="not sha256:0"):
        _ = trained(runs[0], revision="sha256:0").identity
    shutil.rmtree(folds / "fold-1")
    with pytest.raises(ValueError, match="fold-1 holds no trained model"):
        _ = trained(folds).identity
    (folds / FOLDS).write_text(json.dumps({"format": 1, "kind": "other"}))
    with pytest.raises(ValueError, match=r"folds\.json is not readable"):
        _ = trained(folds).identity
