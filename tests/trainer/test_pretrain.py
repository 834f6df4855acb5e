"""Pre-training: reproducible to the byte, resumable, on datasets and plain folders, and of use to what comes after."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pipeline.reader import checked_shards
from pipeline.shards import read_shard
from tests.trainer.conftest import make_samples, write_dataset
from tests.trainer.engine.test_distributed import torchrun
from tests.trainer.engine.tiny_training import lines
from trainer.config import TrainRecipe
from trainer.engine.config import RunConfig
from trainer.fit import fit
from trainer.models.saved_model import load_model
from trainer.models.vit.saved_encoder import load_encoder
from trainer.pretrain import open_corpus, pretrain
from trainer.pretrain_config import PretrainRecipe, load

ROOT = Path(__file__).parents[2]
FILES = ("encoder.safetensors", "encoder.json", "run.json")
SHIPPED = ("cfm", "mim")


def small(kind: str, **sections: dict[str, Any]) -> PretrainRecipe:
    raw: dict[str, Any] = {
        "name": "test",
        "data": {"size_hw": (16, 24), "batch": 6},
        "encoder": {"patch": 4, "dim": 16, "depth": 1, "heads": 2, "table_hw": (4, 6)},
        "objective": {"kind": kind, "decoder_depth": 1, "decoder_heads": 2},
        "masking": {"ratio": 0.5},
        "optim": {"steps": 4, "checkpoint_every": 2, "log_every": 1, "warmup": 2},
    }
    if kind == "cfm":
        raw["objective"] |= {"joint_dim": 8, "text_dim": 16, "text_heads": 2}
    for section, options in sections.items():
        raw[section] = {**raw[section], **options}
    return PretrainRecipe.model_validate(raw)


@pytest.fixture(scope="module")
def photos(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photographs of the squares as plain files, each with its instructions beside it."""
    folder = tmp_path_factory.mktemp("photos")
    for path, receipt in checked_shards(squares):
        for key, members in read_shard(path, sha256=receipt.sha256, count=receipt.committed):
            name = key.rpartition("-")[0]
            colour = key.rpartition("-")[2]
            (folder / f"{name}.png").write_bytes(members["png"])
            with (folder / f"{name}.txt").open("a") as texts:
                texts.write(f"the {colour} square\n")
    return folder


def test_the_shipped_recipes_load_and_open_with_their_command():
    folder = resources.files("trainer.recipes.pretrain")
    names = sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith("l"))
    assert tuple(names) == SHIPPED
    for name in names:
        recipe = load(name)
        assert recipe.name == recipe.objective.kind == name
        opening = (folder / f"{name}.yaml").read_text().split("\nname:")[0]
        assert f"#   maskmix pretrain DIR --recipe {name} --out RUN" in opening
        assert PretrainRecipe.model_validate(recipe.model_dump(mode="json")) == recipe


@pytest.mark.parametrize("name", SHIPPED)
def test_the_variations_that_a_recipe_opens_with_are_recipes_too(name: str):
    text = (resources.files("trainer.recipes.pretrain") / f"{name}.yaml").read_text()
    variations = [line for line in text.splitlines() if line.startswith("#   --set")]
    assert len(variations) >= 2
    for line in variations:
        command = re.split(r" {2,}", line.removeprefix("#   "))[0]
        assert load(name, shlex.split(command)[1::2]) != load(name)


@pytest.mark.parametrize(
    ("name", "override", "message"),
    [
        ("mim", "optim.step=7", "did you mean 'steps'"),
        ("mim", "objective.norm_pics=true", "did you mean 'norm_pix'"),
        ("mim", "objective.kind=mem", "objective"),
        ("mim", "data.size_hw=[50, 64]", "expected multiples of 8, the patch of the encoder"),
        ("mim", "data.gold_share=0.5", "no label is learnt from in pre-training"),
        ("cfm", "optim.accumulate=2", "set optim.accumulate=1"),
        ("cfm", "masking.kind=loss-guided", "is for objective.kind=mim"),
        ("tiny", "optim.steps=7", "unknown recipe: 'tiny'"),
    ],
)
def test_a_wrong_key_or_value_is_named(name: str, override: str, message: str):
    with pytest.raises(ValueError, match=message):
        load(name, [override])


@pytest.mark.parametrize("kind", SHIPPED)
def test_a_stopped_run_continued_gives_the_bytes_of_a_whole_one_and_another_seed_others(
    kind: str, squares: Path, tmp_path: Path
):
    recipe = small(kind)
    whole = pretrain(squares, recipe, out=tmp_path / "whole")
    pretrain(squares, recipe, out=tmp_path / "parts", stop_at=3)
    assert not (tmp_path / "parts" / "encoder.json").exists()
    parts = pretrain(squares, recipe, out=tmp_path / "parts")
    for name in FILES:
        assert (whole / name).read_bytes() == (parts / name).read_bytes()
    other = pretrain(squares, recipe, out=tmp_path / "other", seed=1)
    assert (whole / FILES[0]).read_bytes() != (other / FILES[0]).read_bytes()
    before = {p: p.stat().st_mtime_ns for p in whole.rglob("*") if p.is_file()}
    pretrain(squares, recipe, out=whole)
    assert {p: p.stat().st_mtime_ns for p in whole.rglob("*") if p.is_file()} == before


def test_the_folder_says_what_the_encoder_is_and_has_seen(squares: Path, tmp_path: Path):
    recipe = small("mim")
    run = pretrain(squares, recipe, out=tmp_path / "run")
    facts = json.loads((run / "encoder.json").read_bytes())
    assert facts["method"] == "mim"
    assert facts["datasets"] == {"squares": {"CC0-1.0": 48}}
    assert facts["recipe"] == recipe.model_dump(mode="json")
    saved = load_encoder(run)
    assert (saved.config, saved.size_hw) == (recipe.encoder, (16, 24))
    told = json.loads((run / "run.json").read_bytes())
    assert (told["dataset"], told["seed"], told["rejected"]) == ("squares", 0, 0)
    log = lines(run)
    assert [line["step"] for line in log] == [1, 2, 3, 4]
    assert {"loss", "pixels", "hidden"} <= set(log[0])


def test_photographs_are_drawn_where_texts_have_no_part_and_samples_where_they_do(
    squares: Path, tmp_path: Path
):
    drawn = {}
    for kind, fraction in (("mim", 1.0), ("cfm", 1.0), ("mim", 0.25)):
        recipe = small(kind, data={"fraction": fraction}, optim={"steps": 1})
        run = pretrain(squares, recipe, out=tmp_path / f"{kind}-{fraction}")
        drawn[kind, fraction] = json.loads((run / "run.json").read_bytes())["drawn"]
    assert drawn == {("mim", 1.0): 24, ("cfm", 1.0): 48, ("mim", 0.25): 6}


def test_all_that_is_said_of_a_photograph_is_one_text_and_photographs_are_drawn(
    squares: Path, tmp_path: Path
):
    recipe = small("cfm", data={"max_tokens": 8}, optim={"steps": 1})
    captions = small(
        "cfm", data={"max_tokens": 8}, optim={"steps": 1},
        objective={"texts": "photograph"},
    )  # fmt: skip
    apart, joined = (open_corpus(squares, r).store for r in (recipe, captions))
    said: dict[str, list[str]] = {}
    for sha, texts in zip(apart.shas, apart.instructions, strict=True):
        said.setdefault(sha, []).append(texts[0])
    assert max(len(texts) for texts in said.values()) > 1
    for sha, texts in zip(joined.shas, joined.instructions, strict=True):
        assert texts == (", ".join(dict.fromkeys(said[sha])),)
    run = pretrain(squares, captions, out=tmp_path / "captions")
    assert json.loads((run / "run.json").read_bytes())["drawn"] == len(said) == 24
    dumped = (r.model_dump(mode="json")["objective"] for r in (recipe, captions))
    assert [objective.get("texts") for objective in dumped] == [None, "photograph"]


def test_a_photograph_with_one_sample_keeps_all_its_phrasings(photos: Path):
    recipe = small("cfm", objective={"texts": "photograph"})
    kept = open_corpus(photos, recipe).store.instructions
    assert list(kept) == list(open_corpus(photos, small("cfm")).store.instructions)
    assert len(kept[0]) == 2


def test_a_plain_folder_teaches_what_a_dataset_of_the_same_photographs_teaches(
    squares: Path, photos: Path, tmp_path: Path
):
    recipe = small("mim")
    runs = [
        pretrain(root, recipe, out=tmp_path / name)
        for name, root in (("dataset", squares), ("folder", photos))
    ]
    one, two = (run / "encoder.safetensors" for run in runs)
    assert one.read_bytes() == two.read_bytes()
    facts = json.loads((runs[1] / "run.json").read_bytes())
    assert facts["dataset_hash"].startswith("sha256:")
    assert facts["dataset_licences"] == {"unknown": 24}


def test_files_that_are_not_learnt_from_are_counted_told_and_named(photos: Path, tmp_path: Path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for file in sorted(photos.iterdir())[:8]:
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "cut.png").write_bytes(sorted(folder.glob("*.png"))[0].read_bytes()[:200])
    sorted(folder.glob("*.txt"))[0].unlink()
    said: list[str] = []
    run = pretrain(folder, small("cfm"), out=tmp_path / "run", tell=said.append)
    assert [line.split() for line in said] == [
        ["file", "5"], ["picture", "3"], ["rejected", "image-truncated", "1"],
        ["rejected", "instruction-missing", "1"],
    ]  # fmt: skip
    rejects = [json.loads(line) for line in (run / "rejects.jsonl").read_text().splitlines()]
    assert [(r["sample_id"], r["reason"]) for r in rejects] == [
        ("cut.png", "image-truncated"),
        ("squares-000.png", "instruction-missing"),
    ]
    facts = json.loads((run / "run.json").read_bytes())
    assert (facts["samples"], facts["rejected"]) == (3, 2)
    (folder / "cut.png").unlink()
    pretrain(folder, small("cfm"), out=run)  # what was never learnt from may go
    sorted(folder.glob("*.png"))[1].unlink()
    with pytest.raises(ValueError, match=r"another run \(dataset_hash"):
        pretrain(folder, small("cfm"), out=run)


def test_a_folder_of_another_run_is_refused_and_data_that_are_not_there_are_named(
    squares: Path, tmp_path: Path
):
    pretrain(squares, small("mim"), out=tmp_path / "run", stop_at=1)
    with pytest.raises(ValueError, match=r"another run \(seed: 0\)"):
        pretrain(squares, small("mim"), out=tmp_path / "run", seed=1)
    with pytest.raises(ValueError, match="none does not exist"):
        pretrain(tmp_path / "none", small("mim"), out=tmp_path / "other")
    with pytest.raises(ValueError, match="workers is for on='ray'"):
        pretrain(squares, small("mim"), out=tmp_path / "other", workers=2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SHIPPED)
def test_a_model_is_fit_over_the_encoder_also_at_twice_the_frame(
    kind: str, squares: Path, recipe: TrainRecipe, tmp_path: Path
):
    encoder = pretrain(squares, small(kind), out=tmp_path / "encoder")
    raw = recipe.model_dump() | {"model": {"kind": "vit", "pretrained": str(encoder), "dim": 16}}
    raw["data"]["size_hw"] = (32, 48)
    run = fit(squares, TrainRecipe.model_validate(raw), out=tmp_path / "run")
    model = load_model(run)
    tokens = model.tokenizer.encode(["the red square"])
    logits = model.segmenter(torch.rand(1, 3, 32, 48), tokens)
    assert logits.shape == (1, 1, 32, 48)
    assert bool(logits.isfinite().all())


def words(root: Path, recipe: PretrainRecipe, out: Path) -> list[str]:
    file = out.parent / f"{out.name}.yaml"
    file.write_text(recipe.model_dump_json())
    command = ["-m", "maskmix", "pretrain", str(root), "--recipe", str(file), "--out", str(out)]
    return [*command, "--set", "run.device=cpu"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", SHIPPED)
def test_two_processes_give_the_encoder_of_one(kind: str, squares: Path, tmp_path: Path):
    recipe = small(kind, data={"lanes": 2})
    process = torchrun(*words(squares, recipe, tmp_path / "two"))
    said, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-3000:]
    assert said.count("pre-trained ") == 1
    pretrain(squares, recipe, out=tmp_path / "one")
    one, two = (load_file(tmp_path / name / "encoder.safetensors") for name in ("one", "two"))
    for name, value in one.items():
        # AdamW makes whole steps of gradients that are next to nothing, of a key's bias above all
        torch.testing.assert_close(value, two[name], rtol=1e-3, atol=5e-4)


@pytest.mark.ray
# Ray Data's own defaults, set by Ray Train
@pytest.mark.filterwarnings("ignore:`use_.*` is deprecated:DeprecationWarning")
def test_a_group_of_ray_gives_the_losses_of_one_process(
    squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import ray

    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    recipe = small("cfm", data={"lanes": 2})
    recipe = recipe.model_copy(update={"run": RunConfig(device="cpu")})
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="warning")
    try:
        pretrain(squares, recipe, out=tmp_path / "two", on="ray", workers=2, tell=print)
    finally:
        ray.shutdown()
    pretrain(squares, recipe, out=tmp_path / "one")
    one, two = ([line["loss"] for line in lines(tmp_path / name)] for name in ("one", "two"))
    assert one == pytest.approx(two, rel=1e-3)
    assert (tmp_path / "two" / "encoder.json").exists()


@pytest.mark.slow
def test_sigterm_saves_says_143_and_the_same_command_goes_on(tmp_path: Path):
    samples = make_samples(6, gold_every=2, spoil=0.0, seed=1)
    root = write_dataset(tmp_path / "data", samples, name="few")
    recipe = small("mim", optim={"steps": 400, "checkpoint_every": 400})
    command = [sys.executable, *words(root, recipe, tmp_path / "run")]
    place = {"cwd": ROOT, "env": {**os.environ, "OMP_NUM_THREADS": "1"}}
    process = subprocess.Popen(command, **place)
    deadline = time.monotonic() + 200
    while not (tmp_path / "run" / "log.jsonl").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=100) == 143
    assert not (tmp_path / "run" / "encoder.json").exists()
    subprocess.run(command, **place, check=True, timeout=300)
    torch.set_num_threads(1)  # as the processes have it
    whole = pretrain(root, recipe, out=tmp_path / "whole")
    for name in FILES:
        assert (whole / name).read_bytes() == (tmp_path / "run" / name).read_bytes()
