"""The kind `ivm` from a recipe: built, trained on the squares, judged by its language model, written and read again."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.sidecar import read_sidecar
from tests.annotators.sam.tiny_sam import save, tiny_sam
from tests.trainer.models.tiny_ivm import published_shapes
from tests.trainer.models.tiny_llava import save_llava
from trainer.config import TrainRecipe, load
from trainer.discriminate import discriminate
from trainer.fit import fit
from trainer.models.base.light import LightDiscriminator
from trainer.models.ivm.composite import Composite
from trainer.models.ivm.kind import build_pair
from trainer.models.ivm.model import IvmModel
from trainer.models.ivm.prompt import LlavaTokens
from trainer.models.registry import build_discriminator, build_model, build_tokens, frozen_parts
from trainer.models.saved_judge import load_judge, save_judge
from trainer.models.saved_model import load_model, seeded
from trainer.use.predictor import Predictor

SIZE = (64, 64)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny SAM's checkpoint and a tiny LLaVA."""
    root = tmp_path_factory.mktemp("weights")
    save(tiny_sam(side=64), root / "sam.pth")
    save_llava(root / "llava")
    return root


def recipe_of(weights: Path, **model: Any) -> TrainRecipe:
    optim = {"steps": 6, "checkpoint_every": 3, "log_every": 1, "warmup": 1, "lr": 1e-3}
    return TrainRecipe.model_validate(
        {
            "name": "tiny-ivm",
            "data": {"size_hw": SIZE, "batch": 6, "gold_share": 0.5, "max_tokens": 16},
            "model": {
                "kind": "ivm",
                "image": {"model": str(weights / "sam.pth")},
                "lmm": {"model": str(weights / "llava")},
                "projector": 24,
                "heads": 4,
                "mlp": 48,
                "judge": 16,
                **model,
            },
            "optim": optim,
            "discriminate": {"folds": 2, "judged": 0.5, "optim": {**optim, "steps": 3}},
        }
    )


def built(recipe: TrainRecipe) -> tuple[LlavaTokens, Any]:
    tokens: Any = build_tokens(recipe.model, [], data=recipe.data)
    with seeded(1):
        return tokens, build_model(recipe.model, tokens, size_hw=SIZE)


def test_the_shipped_recipe_is_the_published_model() -> None:
    recipe = load("ivm-7b")
    config: Any = recipe.model
    assert recipe.data.size_hw == (1024, 1024)
    assert (config.lora.rank, config.lora.alpha, config.lora.dropout) == (8, 16, 0.05)
    assert (config.projector, config.depth, config.heads, config.mlp) == (2048, 2, 8, 2048)
    assert (config.mask_tokens, config.judge, config.discriminator) == (1, 1024, "composite")
    assert (recipe.weight.method, recipe.weight.f) == ("dwsl", "affine")


@pytest.mark.slow
def test_a_recipe_builds_model_tokens_and_either_discriminator(weights: Path) -> None:
    recipe = recipe_of(weights)
    tokens, model = built(recipe)
    assert isinstance(tokens, LlavaTokens)
    assert tokens.max_tokens == 16
    assert isinstance(model, IvmModel)
    parts = frozen_parts(recipe.model)
    assert {*parts} == {"image", "lmm"}
    assert all(named.revision.startswith("sha256:") for named in parts.values())
    image, rows, mask = torch.rand(2, 3, *SIZE), tokens.encode(["a", "b"]), torch.ones(2, 1, *SIZE)
    for name, kind in (("composite", Composite), ("light", LightDiscriminator)):
        chosen = recipe_of(weights, discriminator=name)
        judge = build_discriminator(chosen.model, tokens, size_hw=SIZE)
        assert isinstance(judge, kind)
        assert judge(image, rows, mask).shape == (2,)


@pytest.mark.slow
def test_a_pair_holds_the_frozen_language_model_once(weights: Path) -> None:
    recipe = recipe_of(weights)
    config: Any = recipe.model
    model, judge = build_pair(config, built(recipe)[0])
    both = torch.nn.ModuleList([model, judge])
    lmm = sum(p.numel() for p in model.lmm.parameters() if not p.requires_grad)
    trained = sum(p.numel() for p in both.parameters() if p.requires_grad)
    sam = sum(p.numel() for p in model.image.parameters())
    assert sum(p.numel() for p in both.parameters()) == lmm + trained + sam


@pytest.mark.slow
def test_a_recipe_can_start_from_the_published_file(weights: Path, tmp_path: Path) -> None:
    shapes = published_shapes(layers=2, width=32, hidden=24, dim=32, mlp=48)
    file = tmp_path / "IVM-V1.0.bin"
    torch.save({name: torch.randn(shape) for name, shape in shapes.items()}, file)
    recipe = recipe_of(weights, published=str(file))
    model = built(recipe)[1]
    published = torch.load(file, weights_only=True)
    assert torch.equal(model.projector.fc1.weight, published["prompt_encoder.text_proj.fc1.weight"])
    assert "published" in frozen_parts(recipe.model)
    with pytest.raises(ValueError, match="does not fit this model"):
        built(recipe_of(weights, published=str(file), depth=1))


@pytest.mark.slow
def test_it_fits_is_written_small_and_predicts_the_same_when_read(
    weights: Path, squares: Path, tmp_path: Path
) -> None:
    recipe = recipe_of(weights)
    out = fit(squares, recipe, out=tmp_path / "run", seed=3)
    assert (out / "model.safetensors").stat().st_size < (
        weights / "llava" / "model.safetensors"
    ).stat().st_size
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert len([line for line in lines if "loss" in line]) == 6
    again = fit(squares, recipe, out=tmp_path / "again", seed=3)
    assert (again / "model.safetensors").read_bytes() == (out / "model.safetensors").read_bytes()
    image = torch.rand(40, 56, 3).mul(255).byte().numpy()
    one, two = (
        Predictor(model=load_model(f)).predict(image, "the red square") for f in (out, again)
    )
    assert one.shape == (40, 56)
    assert (one == two).all()
    assert one.std() > 0


@pytest.mark.slow
def test_its_language_model_scores_every_label(
    weights: Path, squares: Path, tmp_path: Path
) -> None:
    dataset = Path(shutil.copytree(squares, tmp_path / "squares"))
    facts = discriminate(dataset, recipe_of(weights))
    assert facts["auc_good_vs_bad"] is not None
    scores = read_sidecar(dataset, "weights").column("p_clean").to_pylist()
    assert len(set(scores)) > len(scores) / 2
    assert all(0.0 < score < 1.0 for score in scores)


@pytest.mark.slow
def test_other_weights_than_it_was_trained_with_are_refused(
    weights: Path, squares: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "weights"
    moved.mkdir()
    save(tiny_sam(side=64), moved / "sam.pth")
    save_llava(moved / "llava")
    recipe = recipe_of(moved)
    short = recipe.model_copy(update={"optim": recipe.optim.model_copy(update={"steps": 1})})
    out = fit(squares, short, out=tmp_path / "run")
    save_llava(moved / "llava", seed=9)
    with pytest.raises(ValueError, match="not sha256"):
        load_model(out)


@pytest.mark.slow
def test_a_stopped_run_goes_on_to_the_same_bytes_dropout_and_all(
    weights: Path, squares: Path, tmp_path: Path
) -> None:
    recipe = recipe_of(weights, lora={"rank": 4, "alpha": 8, "dropout": 0.3})
    whole = fit(squares, recipe, out=tmp_path / "whole", seed=3)
    fit(squares, recipe, out=tmp_path / "cut", seed=3, stop_at=4)
    assert not (tmp_path / "cut" / "model.json").exists()
    cut = fit(squares, recipe, out=tmp_path / "cut", seed=3)
    assert (cut / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    still = recipe_of(weights, lora={"rank": 4, "alpha": 8, "dropout": 0.0})
    other = fit(squares, still, out=tmp_path / "still", seed=3)
    assert (other / "model.safetensors").read_bytes() != (whole / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_kept_embeddings_change_no_byte(
    weights: Path, squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASKMIX_HOME", str(tmp_path / "home"))
    still = {"hflip": 0.0, "scale": 0.0, "shift": 0.0, "colour": 0.0}
    found = []
    for cache in ("none", "disk"):
        recipe = recipe_of(weights, cache=cache)
        data = recipe.data.model_copy(update={"augment": type(recipe.data.augment)(**still)})
        recipe = recipe.model_copy(update={"data": data})
        out = fit(squares, recipe, out=tmp_path / cache, seed=3)
        found.append((out / "model.safetensors").read_bytes())
    assert found[0] == found[1]
    assert len(list((tmp_path / "home").rglob("*.safetensors"))) == 24


@pytest.mark.slow
@pytest.mark.parametrize("name", ["composite", "light"])
def test_a_saved_discriminator_judges_as_it_did(weights: Path, tmp_path: Path, name: str) -> None:
    recipe = recipe_of(weights, discriminator=name)
    tokens = built(recipe)[0]
    with seeded(5):
        judge: Any = build_discriminator(recipe.model, tokens, size_hw=SIZE)
        for parameter in judge.parameters():
            if parameter.requires_grad:
                parameter.data.add_(torch.randn_like(parameter) * 0.1)
    save_judge(tmp_path, judge.eval(), recipe=recipe, tokenizer=tokens)
    again: Any = load_judge(tmp_path).judge
    image, rows, mask = torch.rand(2, 3, *SIZE), tokens.encode(["a", "b"]), torch.rand(2, 1, *SIZE)
    with torch.no_grad():
        assert torch.equal(again(image, rows, mask), judge(image, rows, mask))
