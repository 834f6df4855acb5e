"""Whole trainings with hidden features: resumed, cut into parts, on frozen encoders, and then asked."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tests.trainer.models.tiny_frozen import save_clip, save_sam
from tests.trainer.objectives.little_batch import little_batch
from trainer.config import TrainRecipe, load, recipe_hash
from trainer.engine.precision import seen_by_objectives
from trainer.fit import fit
from trainer.models.protocol import Features
from trainer.models.saved_model import load_model
from trainer.objectives.config import HideConfig, LossConfig
from trainer.objectives.hiding import FeatureMask, Hiding
from trainer.objectives.segmentation import Segmentation
from trainer.weighting.uniform import Uniform


def hiding(recipe: TrainRecipe, kind: str = "rf-gam", **optim: Any) -> TrainRecipe:
    raw = recipe.model_dump(mode="json") | {"hide": {"kind": kind}}
    raw["optim"] |= optim
    return TrainRecipe.model_validate(raw)


def weights(run: Path) -> dict[str, Tensor]:
    return load_file(run / "model.safetensors")


def test_a_recipe_that_hides_nothing_keeps_the_hash_that_it_had(recipe: TrainRecipe):
    silent, said = load("camvid"), load("camvid", ["hide.kind=none"])
    assert "hide" not in silent.model_dump(mode="json")
    assert recipe_hash(silent) == recipe_hash(said)
    other = load("camvid", ["hide.kind=random"])
    assert recipe_hash(other) != recipe_hash(silent)
    assert TrainRecipe.model_validate(other.model_dump(mode="json")) == other


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("hide.kind=image", "hide.kind"),
        ("hide.ratio=0.5", "did you mean 'ratios'"),
        ("hide.ratios=[0.4, 0.3]", "none below the one before"),
        ("hide.ratios=[]", "finest level first"),
        ("hide.ratios=[0.5, 0.95]", "something must stay visible"),
        ("hide.sigma=0", "hide.sigma"),
    ],
)
def test_a_wrong_value_is_named(override: str, message: str):
    with pytest.raises(ValueError, match=message):
        load("camvid", [override])


@pytest.mark.slow
def test_a_stopped_run_continued_gives_the_bytes_of_a_whole_one_and_each_kind_its_own(
    squares: Path, recipe: TrainRecipe, tmp_path: Path
):
    told = hiding(recipe)
    whole = fit(squares, told, out=tmp_path / "whole")
    fit(squares, told, out=tmp_path / "parts", stop_at=3)
    fit(squares, told, out=tmp_path / "parts")
    for name in ("model.safetensors", "model.json", "run.json"):
        assert (whole / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()
    found = {(whole / "model.safetensors").read_bytes()}
    for kind in ("random", "threshold"):
        run = fit(squares, hiding(recipe, kind), out=tmp_path / kind)
        found.add((run / "model.safetensors").read_bytes())
    plain = fit(squares, recipe, out=tmp_path / "plain")
    found.add((plain / "model.safetensors").read_bytes())
    assert len(found) == 4
    assert weights(whole).keys() == weights(plain).keys()
    assert '"hidden"' in (whole / "log.jsonl").read_text()
    assert '"hidden"' not in (plain / "log.jsonl").read_text()


@pytest.mark.slow
def test_a_batch_in_parts_is_masked_as_the_whole_one(
    squares: Path, recipe: TrainRecipe, tmp_path: Path
):
    whole, parts = (
        weights(fit(squares, hiding(recipe, accumulate=n), out=tmp_path / str(n))) for n in (1, 3)
    )
    for name, value in whole.items():
        torch.testing.assert_close(
            parts[name], value, atol=5e-4, rtol=1e-3
        )  # AdamW makes much of gradients near 0


@pytest.mark.slow
def test_a_trained_model_meets_the_features_as_they_are(
    squares: Path, recipe: TrainRecipe, tmp_path: Path
):
    run = fit(squares, hiding(recipe), out=tmp_path / "run")
    model: Any = load_model(run).segmenter
    plain: Any = load_model(fit(squares, recipe, out=tmp_path / "plain")).segmenter
    plain.load_state_dict(model.state_dict())  # trained without, of the same weights
    image = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    tokens = torch.tensor([[2, 3], [3, 2]])
    for ours, theirs in zip(
        model.encode(image, tokens).maps, plain.encode(image, tokens).maps, strict=True
    ):
        assert torch.equal(ours, theirs)
    assert torch.equal(model(image, tokens), plain(image, tokens))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["joint", "co_teaching", "elr"])
def test_other_objectives_resume_with_it_too(
    method: str, squares: Path, recipe: TrainRecipe, tmp_path: Path
):
    raw = hiding(recipe).model_dump(mode="json")
    told = TrainRecipe.model_validate(raw | {"weight": {"method": method, "joint_warmup": 0.3}})
    fit(squares, told, out=tmp_path / "whole")
    fit(squares, told, out=tmp_path / "parts", stop_at=3)
    fit(squares, told, out=tmp_path / "parts")
    whole, parts = (weights(tmp_path / name) for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


@pytest.mark.slow
def test_a_decoder_on_frozen_encoders_learns_from_what_is_left(
    squares: Path, recipe: TrainRecipe, tmp_path: Path
):
    raw = hiding(recipe).model_dump(mode="json")
    raw["data"] |= {"size_hw": (64, 64), "max_tokens": 16}
    raw["model"] = {
        "kind": "base", "image": {"model": str(save_sam(tmp_path / "sam.pth"))},
        "text": {"model": str(save_clip(tmp_path / "clip"))}, "depth": 1, "heads": 2, "mlp": 32,
    }  # fmt: skip
    raw["data"]["augment"] = {"hflip": 0, "scale": 0, "shift": 0, "colour": 0, "word_drop": 0}
    raw["optim"] |= {"steps": 2, "precision": "bfloat16"}
    on = TrainRecipe.model_validate(raw)
    off = TrainRecipe.model_validate({k: v for k, v in raw.items() if k != "hide"})
    ours, theirs = (
        weights(fit(squares, told, out=tmp_path / name))
        for name, told in (("on", on), ("off", off))
    )
    assert all(bool(value.isfinite().all()) for value in ours.values())
    assert any(not torch.equal(ours[name], theirs[name]) for name in theirs)


class OneLevel(nn.Module):
    """The smallest model that masks: one level of features, no text."""

    def __init__(self) -> None:
        super().__init__()
        self.see = nn.Conv2d(3, 8, 4, stride=4)
        self.say = nn.ConvTranspose2d(8, 1, 4, stride=4)

    def encode(self, image: Tensor, tokens: Tensor, embedding: Tensor | None = None) -> Features:
        b = len(image)
        return Features(
            maps=(self.see(image),), text=torch.zeros(b, 1, 4), pooled=torch.zeros(b, 4),
            real=torch.ones(b, 1).bool(), frame_hw=(image.shape[2], image.shape[3]),
        )  # fmt: skip

    def decode(self, features: Features) -> Tensor:
        return self.say(features.maps[0])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # dynamo looks at its inputs
def test_a_compiled_model_is_masked_alike():
    torch.manual_seed(0)
    model, batch = OneLevel(), little_batch()
    plain = Segmentation(loss=LossConfig(), weigher=Uniform())
    hiding = Hiding(plain, FeatureMask(HideConfig(kind="rf-gam"), levels=1))
    grads = []
    for compiled in (False, True):
        seen = seen_by_objectives(model, device_type="cpu", precision="float32", compiled=compiled)
        model.zero_grad()
        hiding(seen, batch, 0.5).total.backward()
        grads.append([p.grad for p in model.parameters()])
    for eager, other in zip(*grads, strict=True):
        torch.testing.assert_close(other, eager)
