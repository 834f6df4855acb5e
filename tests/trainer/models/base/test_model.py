"""The base model: frozen encoders that are those of their makers, and nothing but projection and decoder learns."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf

from annotators.sam.prompted import PromptedSam
from tests.annotators.sam.tiny_hf_sam import save_tiny
from tests.annotators.sam.tiny_sam import hf_sam, photograph, tiny_sam
from tests.trainer.models.tiny_frozen import base_recipe, save_clip, save_sam, save_t5
from trainer.config import TrainRecipe
from trainer.models.base.model import BaseModel
from trainer.models.config import FrozenImageConfig, FrozenTextConfig
from trainer.models.frozen.image import FrozenImage, load_frozen_image
from trainer.models.frozen.text import load_frozen_text
from trainer.models.frozen.tokens import HFTokens, load_hf_tokens
from trainer.models.registry import build_discriminator, build_model, build_tokens, frozen_parts
from trainer.models.saved_model import trained_tensors

TEXTS = ["the red mug", "a", "the mug on the left of the red one is it not"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("encoders")


@pytest.fixture(scope="module")
def recipe(folder: Path) -> TrainRecipe:
    return base_recipe(folder)


@pytest.fixture(scope="module")
def tokens(recipe: TrainRecipe) -> Any:
    return build_tokens(recipe.model, [], data=recipe.data)


@pytest.fixture
def model(recipe: TrainRecipe, tokens: HFTokens) -> Any:
    torch.manual_seed(0)
    return build_model(recipe.model, tokens, size_hw=(32, 48)).eval()


def image_encoder(model: Path, **options: Any) -> FrozenImage:
    return load_frozen_image(FrozenImageConfig(model=str(model), embedding="float32", **options))


def test_an_embedding_is_what_the_sam_expert_has_of_the_same_square_image(tmp_path: Path):
    sam = save_sam(tmp_path / "sam.pth")
    picture = photograph(64, 64)
    [theirs] = PromptedSam(sam, device="cpu").encode([picture])
    image = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
    ours = image_encoder(sam)(image)
    assert ours.shape == (1, 32, 4, 4)
    assert (ours - theirs.features).abs().max() <= 1e-4


def test_a_folder_of_transformers_is_the_same_encoder_as_the_original_file(tmp_path: Path):
    image = torch.rand(2, 3, 128, 128)
    reference = tiny_sam(side=128)
    hf_sam(reference).save_pretrained(tmp_path / "folder")
    torch.save(reference.state_dict(), tmp_path / "sam.pth")
    original, converted = (image_encoder(tmp_path / name)(image) for name in ("sam.pth", "folder"))
    assert torch.equal(original, converted)


@pytest.mark.slow
def test_an_embedding_from_a_folder_is_that_of_transformers_own_forward(tmp_path: Path):
    path = save_tiny("sam", tmp_path / "sam")
    image = torch.rand(2, 3, 64, 64)
    net = hf.SamModel.from_pretrained(path)
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    with torch.no_grad():
        want = net.vision_encoder((image - mean) / std).last_hidden_state
    torch.testing.assert_close(image_encoder(path)(image), want, atol=1e-4, rtol=1e-4)


def test_a_sam_of_another_family_is_refused_by_name(tmp_path: Path):
    with pytest.raises(ValueError, match="a 'clip_text_model' model; expected one of type 'sam'"):
        image_encoder(save_clip(tmp_path / "clip"))
    with pytest.raises(ValueError, match="no such file"):
        image_encoder(tmp_path / "none.pth")


def test_at_another_side_the_encoder_is_segment_anythings_with_resized_tables(tmp_path: Path):
    sam = tiny_sam(side=128)
    torch.save(sam.state_dict(), tmp_path / "sam.pth")
    vit: Any = sam.image_encoder
    places = vit.pos_embed.permute(0, 3, 1, 2)
    small = torch.nn.functional.interpolate(places, (4, 4), mode="bicubic", align_corners=False)
    vit.pos_embed = torch.nn.Parameter(small.permute(0, 2, 3, 1))
    image = torch.rand(1, 3, 64, 64)
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    with torch.no_grad():
        want = vit((image - mean) / std)
    got = image_encoder(tmp_path / "sam.pth", side=64)(image)
    torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="multiple of SAM's patch of 16"):
        image_encoder(tmp_path / "sam.pth", side=72)


@pytest.mark.parametrize("kind", ["clip", "whole clip", "t5"])
def test_text_features_are_those_of_transformers_for_each_text_alone(kind: str, tmp_path: Path):
    path = save_t5(tmp_path / "t") if kind == "t5" else save_clip(tmp_path / "t", whole="w" in kind)
    words = load_hf_tokens(path, max_tokens=16)
    text = load_frozen_text(FrozenTextConfig(model=str(path)), end=words.end).train()
    reference = (hf.T5EncoderModel if kind == "t5" else hf.CLIPTextModel).from_pretrained(path)
    hidden, whole, real = text(words.encode(TEXTS))
    for i, alone in enumerate(TEXTS):
        ids = hf.AutoTokenizer.from_pretrained(path)(
            alone, return_tensors="pt", truncation=True, max_length=16
        ).input_ids
        with torch.no_grad():
            out = reference(input_ids=ids)
        length = ids.shape[1]
        assert real[i].tolist() == [True] * length + [False] * (real.shape[1] - length)
        torch.testing.assert_close(hidden[i, :length], out.last_hidden_state[0], atol=1e-5, rtol=0)
        if kind == "t5":
            mean = out.last_hidden_state[0].mean(0)
            torch.testing.assert_close(whole[i], mean, atol=1e-5, rtol=0)
        else:
            torch.testing.assert_close(whole[i], out.pooler_output[0], atol=1e-5, rtol=0)


def test_padding_that_is_the_end_token_itself_is_padding(tmp_path: Path):
    path = save_clip(tmp_path / "clip")
    words = load_hf_tokens(path, max_tokens=16)
    words.tokenizer.pad_token = words.tokenizer.eos_token  # as CLIP is published
    assert words.pad == words.end
    text = load_frozen_text(FrozenTextConfig(model=str(path)), end=words.end)
    _, together, real = text(words.encode(TEXTS))
    assert real.sum(1).tolist()[1] == 3
    for i, alone in enumerate(TEXTS):
        torch.testing.assert_close(together[i], text(words.encode([alone]))[1][0])


@pytest.mark.parametrize("save", [save_clip, save_t5])
def test_an_end_token_in_an_instruction_ends_nothing_and_long_ones_keep_theirs(
    save: Any, tmp_path: Path
):
    words = load_hf_tokens(save(tmp_path / "t"), max_tokens=8)
    end = words.tokenizer.eos_token
    ids = words.encode([f"the {end} red", "the red " * 30])
    assert (ids == words.end).sum(1).tolist() == [1, 1]
    assert ids.shape[1] == 8
    assert ids[1, -1] == words.end
    assert words.unknown is None


def test_a_text_encoder_of_another_kind_is_refused(tmp_path: Path):
    path = save_tiny("sam", tmp_path / "sam")
    with pytest.raises(ValueError, match="'sam' model; expected a model of type clip"):
        load_frozen_text(FrozenTextConfig(model=str(path)), end=1)


def test_a_batch_gives_what_its_samples_give_alone(model: BaseModel, tokens: HFTokens):
    image = torch.rand(3, 3, 32, 48)
    together = model(image, tokens.encode(TEXTS))
    assert together.shape == (3, 1, 32, 48)
    assert together.std() > 1e-3
    for i, text in enumerate(TEXTS):
        alone = model(image[i : i + 1], tokens.encode([text]))
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-5, rtol=0)


def test_the_answer_depends_on_the_image_and_on_the_text(model: BaseModel, tokens: HFTokens):
    image = torch.rand(1, 3, 32, 48)
    first = model(image, tokens.encode(["the red mug"]))
    assert (model(image, tokens.encode(["mug the red"])) - first).abs().max() > 1e-4
    assert (model(1 - image, tokens.encode(["the red mug"])) - first).abs().max() > 1e-4


def test_frozen_parts_learn_nothing_stay_in_evaluation_mode_and_are_not_saved(
    model: BaseModel, tokens: HFTokens
):
    model.train()
    model(torch.rand(2, 3, 32, 48), tokens.encode(TEXTS[:2])).square().mean().backward()
    for name, parameter in model.named_parameters():
        frozen = name.startswith(("image.", "text."))
        assert parameter.requires_grad != frozen, name
        assert (parameter.grad is None) == frozen, name
        assert frozen or bool((parameter.grad != 0).any()), name
    assert not any(m.training for part in (model.image, model.text) for m in part.modules())
    assert model.decoder.training
    saved = trained_tensors(model)
    assert {name.partition(".")[0] for name in saved} == {"project", "decoder"}
    assert "decoder.pe_layer.positional_encoding_gaussian_matrix" in saved


def test_an_embedding_stands_for_the_image_it_is_of(model: BaseModel, tokens: HFTokens):
    image, ids = torch.rand(2, 3, 32, 48), tokens.encode(TEXTS[:2])
    kept = model.embed(image)
    assert kept.dtype == torch.float16
    assert torch.equal(model(torch.zeros_like(image), ids, kept), model(image, ids))


def test_heads_that_do_not_divide_the_channels_are_refused(recipe: TrainRecipe, tokens: HFTokens):
    odd = recipe.model.model_copy(update={"heads": 3})
    with pytest.raises(ValueError, match=r"heads 3; .* 32 channels"):
        build_model(odd, tokens, size_hw=(32, 48))


def test_frozen_parts_are_named_with_hash_and_licence(recipe: TrainRecipe, folder: Path):
    parts = frozen_parts(recipe.model)
    assert parts["image"].revision.startswith("sha256:")
    assert parts["text"].licence == "mit"
    assert parts["text"].model == str(folder / "clip")


def test_the_light_discriminator_sees_the_mask_the_image_and_the_text(
    recipe: TrainRecipe, tokens: HFTokens
):
    torch.manual_seed(0)
    judge = build_discriminator(recipe.model, tokens, size_hw=(32, 48)).eval()
    image, ids = torch.rand(2, 3, 32, 48), tokens.encode(["the red mug", "a blue one"])
    mask = torch.zeros(2, 1, 32, 48)
    mask[0, :, 2:14, 4:20], mask[1, :, 16:30, 20:44] = 1, 1
    own = judge(image, ids, mask)
    assert own.shape == (2,)
    for other in (mask.roll(1, 0), torch.zeros_like(mask), 1 - mask):
        assert bool(((judge(image, ids, other) - own).abs() > 1e-4).all())
    assert bool(((judge(image.roll(1, 0), ids, mask) - own).abs() > 1e-4).all())
    assert bool(((judge(image, ids.roll(1, 0), mask) - own).abs() > 1e-4).all())


def test_the_verdict_trains_the_head_alone(recipe: TrainRecipe, tokens: HFTokens):
    judge: Any = build_discriminator(recipe.model, tokens, size_hw=(32, 48))
    image, ids = torch.rand(2, 3, 32, 48), tokens.encode(TEXTS[:2])
    judge(image, ids, torch.rand(2, 1, 32, 48)).sum().backward()
    assert all(p.grad is None for p in judge.guesser.parameters())
    assert all(p.grad is not None for p in judge.head.parameters())
    sight = judge.look(image, ids)
    picked = sight.pick(torch.tensor([False, True]))
    mask = torch.rand(2, 1, 32, 48)
    whole = judge.judge(sight, mask)
    torch.testing.assert_close(judge.judge(picked, mask[1:]), whole[1:], atol=1e-5, rtol=0)
