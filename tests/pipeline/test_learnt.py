"""Files of what was learnt, read into the resolved recipe."""

import json
from dataclasses import replace

import numpy as np
import pytest

from annotators.masks import encode_mask
from pipeline.config import FuseConfig, Recipe, StagesConfig, recipe_hash
from pipeline.intake.images import UnitImages
from pipeline.learnt import inline_learnt
from pipeline.line import resolve
from pipeline.records import Candidate, Provenance, Sample
from pipeline.stages.fuse import Fuse
from tests.pipeline.datasets_for_tests import bare_sample

RATES = {"sensitivity": 0.7, "specificity": 0.9}
RELIABILITY = {"kind": "reliability", "overall": {"a@x": RATES}, "styles": {}, "samples": 3}
CALIBRATION = {"kind": "calibration", "right": [[0, 0]], "iou": [[0, 0]], "rules": ["agreement"]}


def stages(**fuse):
    return StagesConfig.model_validate({"fuse": {"rule": "staple", **fuse}})


def saved(folder, table, name="table.json"):
    path = folder / name
    path.write_text(table if isinstance(table, str) else json.dumps(table))
    return str(path)


def test_a_file_becomes_its_numbers_and_they_stay(tmp_path):
    inlined = inline_learnt(stages(learnt=saved(tmp_path, RELIABILITY)))
    assert inlined.fuse is not None
    assert inlined.fuse.learnt == {"kind": "reliability", "overall": {"a@x": RATES}, "styles": {}}
    assert inline_learnt(inlined) == inlined
    assert inline_learnt(stages()) == stages()


def test_the_hash_of_a_recipe_names_what_was_learnt_and_not_its_file(tmp_path):
    def hashed(table, name):
        raw = {
            "name": "tiny",
            "source": {"kind": "photos"},
            "stages": {"fuse": {"rule": "staple", "learnt": saved(tmp_path, table, name)}},
        }
        recipe = resolve(raw)
        assert recipe_hash(Recipe.model_validate(recipe.model_dump(mode="json"))) == recipe_hash(
            recipe
        )
        return recipe_hash(recipe)

    other = {**RELIABILITY, "overall": {"a@x": {**RATES, "sensitivity": 0.71}}}
    longer = {**RELIABILITY, "samples": 4}
    assert hashed(RELIABILITY, "one.json") == hashed(longer, "two.json")
    assert hashed(RELIABILITY, "one.json") != hashed(other, "one.json")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (CALIBRATION, "of kind 'calibration'; expected sidecars/reliability.json"),
        ("[1, 2]", "holds list; expected an object"),
        ("{", "is no JSON"),
    ],
)
def test_a_file_that_holds_something_else_is_refused(tmp_path, table, message):
    with pytest.raises(ValueError, match=f"stages.fuse.learnt: .*{message}"):
        inline_learnt(stages(learnt=saved(tmp_path, table)))


def test_a_file_that_is_not_there_names_the_command_that_makes_it(tmp_path):
    with pytest.raises(ValueError, match="does not exist; `maskmix calibrate DATASET` writes it"):
        inline_learnt(stages(learnt=str(tmp_path / "no.json")))
    wrong = StagesConfig.model_validate({"score": {"learnt": saved(tmp_path, RELIABILITY)}})
    with pytest.raises(ValueError, match=r"stages.score.learnt: .*expected sidecars/calibration"):
        inline_learnt(wrong)


@pytest.mark.parametrize("rule", ["best", "vote", "soft", "cluster"])
def test_rates_fit_one_rule_alone(tmp_path, rule):
    with pytest.raises(ValueError, match="learnt reliabilities are for rule 'staple'"):
        inline_learnt(stages(rule=rule, learnt=saved(tmp_path, RELIABILITY)))


def test_saturation_fits_one_rule_alone():
    for rule in ("best", "vote", "staple", "cluster"):
        with pytest.raises(ValueError, match=r"stages\.fuse\.saturate"):
            Fuse(StagesConfig.model_validate({"fuse": {"rule": rule, "saturate": True}}).fuse)


def test_each_style_is_fused_with_its_own_rates():
    good, poor = (
        {"sensitivity": 0.95, "specificity": 0.99},
        {"sensitivity": 0.5, "specificity": 0.6},
    )
    table = {
        "kind": "reliability",
        "overall": {"left": poor, "right": good},
        "styles": {"phrase": {"left": good, "right": poor}},
    }
    fuse = Fuse(FuseConfig(rule="staple", learnt=table))
    born = bare_sample(0)
    half = born.size_hw[1] // 2
    votes = []
    for name, columns in (("left", slice(0, half)), ("right", slice(half, None))):
        mask = np.zeros(born.size_hw, bool)
        mask[:, columns] = True
        votes.append(
            Candidate(
                mask=encode_mask(mask), phrase=0, proposal=None, mask_score=0.5, stability=0.5,
                made_by=Provenance(expert=name),
            )
        )  # fmt: skip
    for style, side in (("phrase", "left"), ("question", "right"), ("", "right")):
        sample = replace(born, style=style, label=None, candidates=tuple(votes))
        (done,) = fuse([sample], UnitImages())
        assert isinstance(done, Sample)
        assert done.label is not None
        assert (done.label.mask[:, :half] > 0).all() == (side == "left")
        assert (done.label.mask[:, half:] > 0).all() == (side == "right")
