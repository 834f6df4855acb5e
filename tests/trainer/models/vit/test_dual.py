"""Two encoders that meet: means of length 1 in one space, and a decoder that knows only what it is shown."""

import pytest
import torch
from torch import Tensor

from tests.trainer.objectives.contrasting import SMALL, dual, pictures
from trainer.masking.protocol import hide_highest
from trainer.models.vit.config import VitConfig
from trainer.models.vit.dual import Dual
from trainer.models.vit.shown import show
from trainer.objectives.config import CfmConfig

GRID = (4, 4)


@pytest.fixture
def model() -> Dual:
    return dual(CfmConfig(**SMALL)).eval()


@pytest.fixture
def image() -> Tensor:
    return pictures(0).image


@pytest.fixture
def tokens() -> Tensor:
    return pictures(0).tokens


def test_an_image_is_the_mean_of_its_patches_in_the_joint_space(
    model: Dual, image: Tensor, tokens: Tensor
):
    met = model.meet(model.embed(image), tokens)
    features = model.encoder(image).flatten(2).transpose(1, 2) @ model.meet_image.weight.T
    assert met.features is not None
    torch.testing.assert_close(met.features, features)
    pooled = features.mean(1)
    torch.testing.assert_close(met.image, pooled / pooled.norm(dim=1, keepdim=True))
    torch.testing.assert_close(met.text.norm(dim=1), torch.ones(8))


def test_a_text_is_the_mean_of_its_words_whatever_is_padded(
    model: Dual, image: Tensor, tokens: Tensor
):
    patches = model.embed(image)
    wide = torch.nn.functional.pad(tokens, (0, 4))
    torch.testing.assert_close(model.meet(patches, wide).text, model.meet(patches, tokens).text)


def test_an_image_of_which_fewer_patches_are_shown_is_the_mean_of_these(
    model: Dual, image: Tensor, tokens: Tensor
):
    patches = model.embed(image)
    counts = torch.tensor([5, 9, 12, 7, 5, 8, 12, 6])
    hidden = hide_highest(torch.rand(8, 16, generator=torch.Generator().manual_seed(3)), counts)
    met = model.meet(patches, tokens, show(hidden, bounds=(5, 12)))
    for i in range(8):
        alone = model.meet(patches[i : i + 1, ~hidden[i]], tokens[i : i + 1])
        torch.testing.assert_close(met.image[i], alone.image[0], rtol=1e-4, atol=1e-5)


def test_features_that_are_to_be_predicted_have_no_gradient(
    model: Dual, image: Tensor, tokens: Tensor
):
    met = model.meet(model.embed(image), tokens)
    assert met.features is not None
    assert not met.features.requires_grad
    assert met.image.requires_grad
    none = dual(CfmConfig(reconstruct="none", **SMALL))
    assert none.meet(none.embed(image), tokens).features is None
    assert not hasattr(none, "decoder")


def test_shuffled_patches_without_positions_are_the_same_image(
    model: Dual, image: Tensor, tokens: Tensor
):
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    cut = image.unflatten(2, (4, 4)).unflatten(4, (4, 4)).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
    mixed = cut[:, order].unflatten(1, GRID).permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)
    placed, bare = torch.ones(8, dtype=torch.bool), torch.zeros(8, dtype=torch.bool)

    def seen(x: Tensor, where: Tensor) -> Tensor:
        return model.meet(model.embed(x, where), tokens).image

    torch.testing.assert_close(seen(mixed, bare), seen(image, bare), rtol=1e-5, atol=1e-5)
    assert (seen(mixed, placed) - seen(image, placed)).abs().max() > 1e-2
    torch.testing.assert_close(seen(image, placed), model.meet(model.embed(image), tokens).image)


def test_what_is_filled_in_depends_on_the_place_and_on_nothing_that_is_hidden(
    model: Dual, image: Tensor
):
    hidden = hide_highest(torch.rand(8, 16, generator=torch.Generator().manual_seed(3)), 12)
    split = {"visible": show(hidden, bounds=(12, 12)), "hidden": show(~hidden, bounds=(4, 4))}
    patches = model.embed(image)
    said = model.fill_in(patches, **split, grid_hw=GRID)
    assert said.shape == (8, 12, 16)
    assert (said[:, 1:] - said[:, :-1]).abs().amax(2).min() > 1e-4
    other = torch.where(hidden[:, :, None], torch.randn_like(patches), patches)
    assert torch.equal(model.fill_in(other, **split, grid_hw=GRID), said)
    changed = torch.where(hidden[:, :, None], patches, torch.randn_like(patches))
    assert not torch.allclose(model.fill_in(changed, **split, grid_hw=GRID), said, atol=1e-3)


def test_the_temperature_starts_at_clips_and_a_step_beyond_its_limit_is_taken_back(model: Dual):
    assert (1 / model.scale()).item() == pytest.approx(0.07)
    with torch.no_grad():
        model.log_scale.add_(10)
    scale = model.scale()
    assert scale.item() == pytest.approx(100)
    scale.backward()
    assert model.log_scale.grad is not None
    assert float(model.log_scale.grad) == pytest.approx(100)  # it can leave the limit again


def test_a_frame_of_another_grid_is_filled_in_too(tokens: Tensor):
    model = dual(CfmConfig(**SMALL), patch=2)
    hidden = torch.arange(64).expand(8, 64) >= 16
    split = {"visible": show(hidden, bounds=(48, 48)), "hidden": show(~hidden, bounds=(16, 16))}
    assert model.fill_in(model.embed(pictures(0).image), **split, grid_hw=(8, 8)).shape == (8, 48, 16)  # fmt: skip


@pytest.mark.parametrize(("dim", "heads", "wide"), [(96, 4, 48), (768, 12, 384), (36, 4, 20)])
def test_the_decoder_is_half_as_wide_as_the_encoder(dim: int, heads: int, wide: int):
    vit = VitConfig(dim=dim, heads=heads, depth=1)
    with torch.device("meta"):
        model = Dual(vit, config=CfmConfig(), vocabulary=9, max_tokens=4)
    assert model.decoder.unknown.shape == (wide,)
