"""The kind `vit`: over a pre-trained encoder or none, frozen or not, through fit, discriminate and its own files."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.sidecar import read_sidecar
from trainer.config import TrainRecipe, load
from trainer.data.tokens import learn_tokenizer
from trainer.discriminate import discriminate
from trainer.fit import fit
from trainer.models.config import VitModelConfig
from trainer.models.registry import build_discriminator, build_model, frozen_parts
from trainer.models.saved_model import load_model, seeded, trained_tensors
from trainer.models.vit.config import VitConfig
from trainer.models.vit.encoder import Encoder
from trainer.models.vit.probe import Probe
from trainer.models.vit.pyramid import Pyramid
from trainer.models.vit.saved_encoder import load_encoder, name_encoder, save_encoder

SIZES = VitConfig(patch=8, dim=16, depth=2, heads=2, table_hw=(3, 4))
TOKENS = learn_tokenizer(["the red square", "find the blue one"])


def saved(folder: Path, *, seed: int = 0, sizes: VitConfig = SIZES) -> Path:
    with seeded(seed):
        encoder = Encoder(sizes)
    save_encoder(
        folder, encoder, config=sizes, size_hw=(24, 32), method="mim",
        datasets={"squares": {"CC0-1.0": 24}}, recipe={"name": "test"},
    )  # fmt: skip
    return folder


@pytest.fixture
def pretrained(tmp_path: Path) -> Path:
    return saved(tmp_path / "encoder")


def over(recipe: TrainRecipe, folder: Path | None, **options: Any) -> TrainRecipe:
    raw = recipe.model_dump()
    raw["model"] |= {"kind": "vit", "encoder": SIZES.model_dump(), **options}
    raw["model"]["pretrained"] = None if folder is None else str(folder)
    return TrainRecipe.model_validate(raw)


def a_batch() -> tuple[torch.Tensor, torch.Tensor]:
    image = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    return image, TOKENS.encode(["the red square", "blue"])


def test_the_probe_is_linear_in_the_features_given_the_text(pretrained: Path, recipe: TrainRecipe):
    recipe = over(recipe, pretrained, head="linear", train_encoder=False)
    with seeded(0):
        probe: Any = build_model(recipe.model, TOKENS, size_hw=(16, 24))
    assert isinstance(probe, Probe)
    image, tokens = a_batch()
    seen = probe.encode(image, tokens)

    def answer(f: torch.Tensor) -> torch.Tensor:
        return probe.decode(replace(seen, maps=(f,), frame_hw=(2, 3)))

    f, g = torch.randn(2, 2, 16, 2, 3).unbind()
    none = answer(torch.zeros_like(f))
    mixed = answer(2.0 * f - 3.0 * g) - none
    assert torch.allclose(mixed, 2.0 * (answer(f) - none) - 3.0 * (answer(g) - none), atol=1e-4)
    by_hand = torch.einsum("dc,bcrs,bd->brs", probe.project.weight, f, seen.pooled) + torch.einsum(
        "d,bd->b", probe.project.bias, seen.pooled
    ).view(-1, 1, 1)
    assert torch.allclose(answer(f)[:, 0], by_hand, atol=1e-5)
    words = probe.words(tokens)
    assert torch.allclose(seen.pooled[0], words[0].mean(0))
    assert torch.allclose(seen.pooled[1], words[1, 0]), "padding is no word"
    trained = {name for name, p in probe.named_parameters() if p.requires_grad}
    assert trained == {"words.weight", "project.weight", "project.bias"}


@pytest.mark.parametrize("patch", [2, 4, 8, 16])
def test_maps_are_at_a_half_a_quarter_and_an_eighth_whatever_the_patch(patch: int):
    pyramid = Pyramid(Encoder(VitConfig(patch=patch, dim=16, depth=1, heads=2)), width=8)
    maps = pyramid(torch.rand(1, 3, 32, 48))
    assert [tuple(m.shape[1:]) for m in maps] == [(8, 16, 24), (16, 8, 12), (32, 4, 6)]


@pytest.mark.parametrize("head", ["decoder", "linear"])
def test_a_frozen_encoder_stays_as_it_is_and_is_named_and_not_saved(
    head: str, pretrained: Path, squares: Path, recipe: TrainRecipe, tmp_path: Path
):
    recipe = over(recipe, pretrained, head=head, train_encoder=False)
    run = fit(squares, recipe, out=tmp_path / "run")
    facts = json.loads((run / "model.json").read_bytes())
    sha = json.loads((pretrained / "encoder.json").read_bytes())["sha256"]
    assert facts["frozen"]["encoder"]["revision"] == f"sha256:{sha}"
    assert facts["frozen"]["encoder"]["licence"] == "CC0-1.0"
    model: Any = load_model(run).segmenter
    encoder = model.encoder if head == "linear" else model.image.encoder
    before = load_encoder(pretrained).encoder.state_dict()
    assert all(torch.equal(before[k], v) for k, v in encoder.state_dict().items())
    assert not any(".encoder." in f".{name}" for name in trained_tensors(model))
    assert facts["parameters_frozen"] == sum(v.numel() for v in before.values())


def test_a_frozen_encoder_makes_no_graph_and_one_that_learns_gets_a_gradient(
    pretrained: Path, recipe: TrainRecipe
):
    image, tokens = a_batch()
    for learns in (False, True):
        config = over(recipe, pretrained, train_encoder=learns).model
        model: Any = build_model(config, TOKENS, size_hw=(16, 24))
        model(image, tokens).sum().backward()
        gradients = [p.grad is not None for p in model.image.encoder.parameters()]
        assert gradients == [learns] * len(gradients)
        assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_another_checkpoint_under_the_same_path_is_another_run_and_no_part_of_a_finished_model(
    pretrained: Path, squares: Path, recipe: TrainRecipe, tmp_path: Path
):
    frozen = over(recipe, pretrained, train_encoder=False)
    learning = over(recipe, pretrained)
    runs = {"a": frozen, "b": learning}
    for name, its in runs.items():
        fit(squares, its, out=tmp_path / name)
    saved(pretrained, seed=1)
    for name, its in runs.items():
        with pytest.raises(ValueError, match=r"another run \(frozen"):
            fit(squares, its, out=tmp_path / name)
    with pytest.raises(ValueError, match=r"pre-trained anew.*restore it, or fit again"):
        load_model(tmp_path / "a")


def test_a_model_whose_encoder_learnt_on_needs_the_pretrained_folder_no_more(
    pretrained: Path, squares: Path, recipe: TrainRecipe, tmp_path: Path
):
    run = fit(squares, over(recipe, pretrained), out=tmp_path / "run")
    image, tokens = a_batch()
    model = load_model(run)
    before = model.segmenter(image, tokens)
    moved: Any = model.segmenter
    start = load_encoder(pretrained).encoder
    assert not torch.equal(moved.image.encoder.project.weight, start.project.weight)
    shutil.rmtree(pretrained)
    assert torch.equal(load_model(run).segmenter(image, tokens), before)
    facts = json.loads((run / "model.json").read_bytes())
    assert (facts["frozen"], facts["model"]["pretrained"]) == ({}, None), "so it can be published"
    start_of = json.loads((run / "run.json").read_bytes())["frozen"]["pretrained"]
    assert start_of.startswith("sha256:")


def test_training_starts_from_the_pretrained_encoder_and_the_rest_from_the_seed(
    pretrained: Path, recipe: TrainRecipe
):
    with seeded(3):
        model: Any = build_model(over(recipe, pretrained).model, TOKENS, size_hw=(16, 24))
    start = load_encoder(pretrained).encoder.state_dict()
    found = model.image.encoder.state_dict()
    assert found.keys() == start.keys()
    assert all(torch.equal(found[k], start[k]) for k in start)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"train_encoder": False}])
def test_discriminate_judges_by_a_pretrained_encoder(
    options: dict[str, Any], pretrained: Path, squares: Path, recipe: TrainRecipe, tmp_path: Path
):
    recipe = over(recipe, pretrained, **options)
    with seeded(0):
        judge: Any = build_discriminator(recipe.model, TOKENS, size_hw=(16, 24))
    mask = torch.zeros(2, 1, 16, 24)
    mask[:, :, 4:12, 4:12] = 1.0
    image, tokens = a_batch()
    assert (judge(image, tokens, mask) != judge(image, tokens, 1.0 - mask)).all()
    facts = discriminate(squares, recipe, name="vit", out=tmp_path / "folds")
    assert facts["auc_gold_vs_machine"] is not None
    p = read_sidecar(squares, "vit")["p_clean"].to_numpy()
    assert ((p > 0) & (p < 1)).all()
    assert len(set(p.tolist())) > 24


def test_the_encoder_file_says_what_it_is_and_damage_is_found(pretrained: Path):
    facts = json.loads((pretrained / "encoder.json").read_bytes())
    assert (facts["kind"], facts["format"], facts["method"]) == ("maskmix-encoder", 1, "mim")
    assert facts["datasets"] == {"squares": {"CC0-1.0": 24}}
    assert facts["size_hw"] == [24, 32]
    file = pretrained / "encoder.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    with pytest.raises(ValueError, match=r"encoder\.safetensors is not what encoder\.json says"):
        load_encoder(pretrained)
    file.unlink()
    with pytest.raises(ValueError, match="not readable"):
        load_encoder(pretrained)
    with pytest.raises(ValueError, match="expected the folder of a finished `maskmix pretrain`"):
        name_encoder(pretrained / "none")


def test_an_encoder_of_other_sizes_is_refused_with_what_to_set(tmp_path: Path, recipe: TrainRecipe):
    wide = saved(tmp_path / "wide", sizes=SIZES.model_copy(update={"dim": 32}))
    with pytest.raises(ValueError, match=r"has dim: 32; --set 'model\.encoder=\{patch: 8, dim: 32"):
        build_model(over(recipe, wide).model, TOKENS, size_hw=(16, 24))


def test_sizes_that_a_recipe_does_not_say_are_those_of_the_pretrained_encoder(pretrained: Path):
    recipe = load("tiny", [f"model={{kind: vit, pretrained: {pretrained}}}"])
    assert isinstance(recipe.model, VitModelConfig)
    assert recipe.model.encoder == SIZES
    assert TrainRecipe.model_validate(recipe.model_dump(mode="json")) == recipe
    with pytest.raises(ValueError, match=r"holds no encoder\.json; expected the folder of a fin"):
        load("tiny", [f"model={{kind: vit, pretrained: {pretrained / 'none'}}}"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("head: linear", "set model.train_encoder=false"),
        ("head: liner", "model.head: input should be 'decoder' or 'linear'"),
        ("revision: a", "give model.pretrained, the folder of a finished `maskmix pretrain`"),
        ("encoder: {patch: 14}", "expected a power of two"),
        ("encoder: {patch: 16}", "expected multiples of 16"),
        ("encoder: {dept: 3}", "'model.encoder.dept'; did you mean 'depth'"),
        ("heads: 3", "no multiple of 3 heads"),
    ],
)
def test_what_a_recipe_cannot_mean_is_refused_by_name(options: str, message: str):
    with pytest.raises(ValueError, match=message):
        load("tiny", [f"model={{kind: vit, {options}}}"])


def test_a_frozen_encoder_that_was_drawn_is_saved_with_the_model(
    squares: Path, recipe: TrainRecipe, tmp_path: Path
):
    recipe = over(recipe, None, head="linear", train_encoder=False)
    run = fit(squares, recipe, out=tmp_path / "run", seed=5)
    with seeded(5):
        drawn = Encoder(SIZES).state_dict()
    model: Any = load_model(run).segmenter
    found = model.encoder.state_dict()
    assert found.keys() == drawn.keys()
    assert all(torch.equal(found[k], drawn[k]) for k in drawn)
    fit(squares, recipe, out=tmp_path / "parts", seed=5, stop_at=3)
    fit(squares, recipe, out=tmp_path / "parts", seed=5)
    assert (tmp_path / "parts" / "model.safetensors").read_bytes() == (
        run / "model.safetensors"
    ).read_bytes()


def test_an_encoder_that_is_drawn_is_no_part_that_must_be_had(recipe: TrainRecipe):
    assert frozen_parts(over(recipe, None).model) == {}
