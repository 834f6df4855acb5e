"""The hub's door from the command line: a dataset pushed by one person is trained on by another, by its name alone."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.build import build
from pipeline.card import write_card
from pipeline.executors.local import run_local
from tests.e2e.lines import draw_items, job, recipe
from tests.pipeline.hub_server import TOKEN, serve
from tests.pipeline.test_hub import environment

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_pushed_dataset_is_trained_on_by_its_name(tmp_path: Path) -> None:
    out = tmp_path / "out"
    build(job(recipe(draw_items(tmp_path / "items", 12)), out), run_local)
    write_card(out)
    with serve() as hub:
        env = environment(hub.endpoint, tmp_path, TOKEN) | {"MASKMIX_HOME": str(tmp_path / "home")}

        def maskmix(*words: str) -> str:
            done = subprocess.run(
                [sys.executable, "-m", "maskmix", *words],
                env=env, cwd=ROOT, capture_output=True, text=True, timeout=240,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            return done.stdout + done.stderr

        maskmix("push", str(out), "org/balls")
        run = str(tmp_path / "run")
        fit = ["fit", "org/balls", "--recipe", "tiny", "--set", "weight.method=uniform"]
        said = maskmix(*fit, "--set", "optim.steps=2", "--out", run)
        assert "pulling org/balls" in said
        assert (tmp_path / "run" / "model.safetensors").exists()
        kept = tmp_path / "home" / "datasets" / "org--balls"
        assert (kept / "shards" / "train-000000.tar").read_bytes() == (
            out / "shards" / "train-000000.tar"
        ).read_bytes()
        maskmix("pull", "org/balls", "--out", str(tmp_path / "again"))
        assert (tmp_path / "again" / "manifest.json").exists()
