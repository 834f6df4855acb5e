"""A discriminator as a verifier: what it says of a label is the p_clean of the sidecar, out of fold."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from annotators.models.encodings import pixels_key
from annotators.registry import known_experts, make_expert
from pipeline.reader import iterate_samples
from pipeline.sidecar import read_sidecar
from trainer.config import TrainRecipe
from trainer.data.table import decode_image
from trainer.discriminate import discriminate
from trainer.use.folds import write_folds
from trainer.use.judge import TrainedJudge

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def judged(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A scored dataset, and the folder of the discriminators that scored it."""
    root = tmp_path_factory.mktemp("judged") / "squares"
    shutil.copytree(squares, root)
    optim = {"steps": 4, "warmup": 1}
    recipe = TrainRecipe.model_validate(
        {
            "name": "test",
            "data": {"size_hw": (16, 24), "batch": 6},
            "model": {"width": 8, "dim": 16, "depth": 1, "heads": 2},
            "discriminate": {"folds": 2, "optim": optim},
        }
    )
    out = root.parent / "judges"
    discriminate(root, recipe, out=out)
    fold_of = read_sidecar(root, "weights").to_pydict()
    by_id = dict(zip(fold_of["sample_id"], fold_of["fold"], strict=True))
    write_folds(
        out, {pixels_key(decode_image(s)): by_id[s.id] for s in iterate_samples(root)}, folds=2
    )
    return root, out


def test_it_is_known_by_its_entry_point_and_made_without_weights():
    assert "trained_judge" in known_experts()
    assert make_expert("trained_judge", {"model": "no/such"}).name == "trained_judge"


def test_its_verdict_on_a_target_is_the_score_of_the_sidecar(judged):
    root, out = judged
    samples = [s for s in iterate_samples(root) if s.gold_role == "audit"]
    labels = [s.label.mask >= 128 for s in samples if s.label]
    texts = [s.instructions for s in samples]
    images = [decode_image(s) for s in samples]
    verdicts = TrainedJudge(model=str(out)).verify(images, texts, labels)
    table = read_sidecar(root, "weights").to_pydict()
    wanted = dict(zip(table["sample_id"], table["p_clean"], strict=True))
    said = np.array([v.validity for v in verdicts if v])
    assert len(said) == len(samples)
    assert np.allclose(said, [wanted[s.id] for s in samples], atol=1e-5)
    other = TrainedJudge(model=str(out / "fold-0")).verify(images, texts, labels)
    assert any(abs(a.validity - b.validity) > 1e-4 for a, b in zip(verdicts, other, strict=True))
    alone = TrainedJudge(model=str(out)).verify(images[3:4], texts[3:4], labels[3:4])
    assert alone == verdicts[3:4]


def test_a_picture_that_no_fold_knows_is_judged_by_the_mean_of_all(judged):
    _, out = judged
    image = np.random.default_rng(0).integers(0, 255, (31, 47, 3), dtype=np.uint8)
    mask = np.zeros((31, 47), bool)
    mask[5:20, 5:20] = True
    each = [
        TrainedJudge(model=str(out / f"fold-{k}")).verify([image], [["the red square"]], [mask])
        for k in range(2)
    ]
    mean = sum(v[0].validity for v in each if v[0]) / 2
    (said,) = TrainedJudge(model=str(out)).verify([image], [["the red square"]], [mask])
    assert said is not None
    assert said.validity == pytest.approx(mean)
    assert said.exhaustivity == said.validity


def test_without_an_instruction_it_abstains_and_a_mask_of_another_size_is_refused(judged):
    judge = TrainedJudge(model=str(judged[1]))
    image, mask = np.zeros((8, 9, 3), np.uint8), np.ones((8, 9), bool)
    assert judge.verify([image], [()], [mask]) == [None]
    assert judge.verify([], [], []) == []
    with pytest.raises(ValueError, match="expected one size"):
        judge.verify([image], [["x"]], [mask[:4]])


def test_who_it_is_depends_on_its_weights(judged):
    _, out = judged
    who = TrainedJudge(model=str(out)).identity
    assert who.revision.startswith("sha256:")
    assert who.revision != TrainedJudge(model=str(out / "fold-1")).identity.revision
    with pytest.raises(ValueError, match="not sha256:0"):
        _ = TrainedJudge(model=str(out), revision="sha256:0").identity


def test_damaged_weights_are_refused(judged, tmp_path):
    shutil.copytree(judged[1] / "fold-0", tmp_path / "one")
    (tmp_path / "one" / "judge.safetensors").write_bytes(b"other")
    judge = TrainedJudge(model=str(tmp_path / "one"))
    with pytest.raises(ValueError, match=r"is not what judge\.json says"):
        judge.verify([np.zeros((8, 9, 3), np.uint8)], [["x"]], [np.ones((8, 9), bool)])
