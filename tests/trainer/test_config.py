"""Recipes: those shipped load, and mistakes are named."""

from importlib import resources

import pytest

from trainer.config import TrainRecipe, load

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


def test_overrides_reach_into_the_recipe():
    assert load(SHIPPED[0], ["optim.steps=7", "weight.f=affine"]).optim.steps == 7


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
        load(SHIPPED[0], [override])
