"""Recipes: those shipped load, and mistakes are named."""

from importlib import resources

import pytest

from trainer.config import LATER, TrainRecipe, load, recipe_hash

SHIPPED = sorted(
    f.name.removesuffix(".yaml")
    for f in resources.files("trainer.recipes").iterdir()
    if f.name.endswith(".yaml")
)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_recipe_loads_and_opens_with_its_command(name: str):
    assert isinstance(load(name), TrainRecipe)
    text = (resources.files("trainer.recipes") / f"{name}.yaml").read_text()
    assert text.startswith("#")
    assert "maskmix" in text.split("name:")[0]


def test_where_a_training_runs_is_no_part_of_its_recipe():
    here, there = load("tiny"), load("tiny", ["run.device=cpu", "run.loader_workers=3"])
    assert there.run.loader_workers == 3
    assert recipe_hash(here) == recipe_hash(there)
    assert here.model_dump_json() == there.model_dump_json()
    assert recipe_hash(here) != recipe_hash(load("tiny", ["optim.precision=bfloat16"]))


def test_overrides_reach_into_the_recipe():
    assert load("tiny", ["optim.steps=7", "weight.f=affine"]).optim.steps == 7


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optim.step=7", "did you mean 'steps'"),
        ("data.size_hw=[50, 64]", "multiples of 8"),
        ("model.heads=3", "no multiple of 3 heads"),
        ("weight.f=sigmoid", "weight.f"),
        ("discriminate.eta=1.5", "discriminate.eta"),
    ],
)
def test_a_wrong_key_or_value_is_named(override: str, message: str):
    with pytest.raises(ValueError, match=message):
        load("camvid", [override])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.kind=bass", r"expected tags: 'tiny', 'base'"),
        ("model.widht=16", "unknown key 'model.widht'; did you mean 'width'"),
        ("model.width=12", "model.width: .*multiple of 8"),
    ],
)
def test_a_wrong_kind_or_key_of_a_model_is_named_as_the_recipe_writes_it(
    override: str, message: str
):
    with pytest.raises(ValueError, match=message):
        load("tiny", [override])


def test_each_kind_of_model_names_its_own_keys():
    base = ["model={kind: base, image: {model: a}, text: {model: b}}"]
    recipe = load("tiny", [*base, "data.size_hw=[64, 64]"])
    assert recipe.model.kind == "base"
    assert TrainRecipe.model_validate(recipe.model_dump(mode="json")) == recipe
    with pytest.raises(ValueError, match=r"'model.image.modle'; did you mean 'model'"):
        load("tiny", [*base, "model.image.modle=c"])
    with pytest.raises(ValueError, match=r"'model.depht'; did you mean 'depth'\? .*mask_tokens"):
        load("tiny", [*base, "model.depht=1"])


def test_a_recipe_without_a_kind_is_of_a_tiny_model_and_keeps_the_hash_it_had():
    silent, said = TrainRecipe(name="a"), {"name": "a", "model": {"kind": "tiny"}}
    assert recipe_hash(silent) == recipe_hash(TrainRecipe.model_validate(said))
    assert "kind" not in silent.model_dump(mode="json")["model"]


def test_a_key_that_came_later_is_part_of_the_hash_only_where_it_changes_something():
    silent = TrainRecipe(name="a")
    for section, key, idle in LATER:
        assert key not in silent.model_dump(mode="json")[section]
        assert getattr(getattr(silent, section), key) == idle
    said = load("camvid", ["model.judge=composite"])
    assert said.model_dump(mode="json")["model"]["judge"] == "composite"
    assert said.model_dump(mode="json")["weight"]["correct"] == 0.5
    assert TrainRecipe.model_validate(said.model_dump(mode="json")) == said
    assert recipe_hash(said) != recipe_hash(load("camvid"))
