"""The command line as people and programs meet it: its surface, its errors, its exit codes, its JSON."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from maskmix import app
from tests.e2e.lines import draw_items, recipe

VERBS = {
    "build", "calibrate", "card", "compare", "demo", "discriminate", "evaluate", "experts", "fit", "loop",
    "missingness", "plan", "predict", "pretrain", "pull", "push", "reliability", "report", "study", "threshold",
    "verify", "vqa-bench",
}  # fmt: skip
BUILD_FLAGS = {
    "--recipe", "--set", "--out", "--limit", "--seed", "--executor", "--workers", "--dry-run",
    "--json", "--help",
}  # fmt: skip


def test_the_verbs_are_frozen() -> None:
    assert set(get_command(app).commands) == VERBS  # type: ignore[attr-defined]


def test_the_flags_of_build_are_frozen() -> None:
    verb = get_command(app).commands["build"]  # type: ignore[attr-defined]
    context = verb.make_context("build", [], resilient_parsing=True)
    flags = {name for p in verb.get_params(context) for name in p.opts if name.startswith("--")}
    assert flags == BUILD_FLAGS


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["plan", "--recipe", "lit"], "unknown recipe: 'lit'; did you mean 'lite'?"),
        (["plan", "--recipe", "no.yaml"], "recipe file no.yaml does not exist"),
        (["plan", "--set", "stages.kep.empty=keep"], "did you mean 'keep'?"),
        (["plan", "--set", "source.kind=cocoa"], "did you mean 'coco'?"),
        (["plan", "--set", "source.path=/nonexistent"], "/nonexistent"),
        (["plan", "--set", "stages.rewrite.experts.0.use=rulez"], "did you mean 'rules'?"),
        (["plan", "--set", "seed"], "expected KEY"),
        (
            ["build", "--executor", "local", "--workers", "2", "--set", "source={kind: photos}"],
            "--workers is for --executor ray",
        ),
        (["fit", "/no", "--out", "/tmp/never", "--workers", "2"], "--workers is for --on ray"),
        (["pretrain", "/no", "--out", "/tmp/never", "--workers", "2"], "--workers is for --on ray"),
        (["pretrain", "/nonexistent", "--out", "/tmp/never"], "/nonexistent"),
        (["pretrain", "/no", "--out", "/tmp/never", "-r", "mimm"], "did you mean 'mim'"),
        (["verify", "/nonexistent"], "/nonexistent"),
        (["report", "/nonexistent"], "/nonexistent"),
        (["fit", "/nonexistent", "--out", "/tmp/never"], "/nonexistent"),
        (["evaluate", "/nonexistent", "/nonexistent"], "/nonexistent"),
        (["predict", "/nonexistent", "/nonexistent.jpg", "a cup"], "no such file or folder"),
        (["predict", "/nonexistent", "/nonexistent.jpg"], "give one instruction"),
        (["predict", "/nonexistent", "/tmp"], "either one instruction, or a file"),
        (["predict", "/nonexistent", "x.jpg", "a cup", "--instruction", "a cup"], "given twice"),
        (["threshold", "/nonexistent", "--precision", "0.9"], "no sidecar 'weights_labels'"),
        (["reliability", "/nonexistent"], "no sidecar 'weights_labels'"),
        (["missingness", "/nonexistent", "--judges", "/no"], "no sidecar 'weights_labels'"),
        (["push", "/nonexistent", "org/x"], "/nonexistent"),
        (["push", "/nonexistent", "org/x", "--licence", "mit"], "holds no model"),
    ],
)
def test_what_a_user_can_mend_is_one_line(words: list[str], message: str) -> None:
    from maskmix import complain

    result = CliRunner().invoke(app, words)
    if isinstance(result.exception, SystemExit):
        assert result.exit_code == 1
        assert message in result.output
        return
    assert isinstance(result.exception, ValueError | OSError), result.exception
    assert message in str(result.exception)
    assert complain(result.exception) == 2


def test_errors_reach_standard_error_without_a_traceback(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "maskmix", "plan", "--recipe", "lit"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: unknown recipe: 'lit'")
    assert "Traceback" not in done.stderr


def test_plan_writes_nothing_and_says_what_would_happen(tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["plan", "--recipe", str(_recipe(tmp_path)), "--out", str(out), "--limit", "7"]
    facts = _json([*words, "--json"])
    assert (facts["inputs"], facts["units"], facts["units_done"]) == (7, 2, 0)
    assert facts["line"][:2] == ["source", "rewrite"]
    assert not out.exists()
    assert CliRunner().invoke(app, words).exit_code == 0


def test_the_whole_annotation_line_by_hand(tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    build = ["build", "--recipe", str(_recipe(tmp_path)), "--executor", "local", "--out", out]
    assert _json([*build, "--json"])["committed"] == 8
    assert _json(["verify", out, "--json"]) == {"dataset": out, "samples": 8, "problems": []}
    assert CliRunner().invoke(app, ["report", out]).exit_code == 0
    assert (tmp_path / "out" / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert (tmp_path / "out" / "README.md").exists()
    shard = tmp_path / "out" / "shards" / "train-000000.tar"
    shard.write_bytes(shard.read_bytes()[:-2048])
    result = CliRunner().invoke(app, ["verify", out, "--json"])
    assert result.exit_code == 1
    assert "train-000000.tar" in json.loads(result.output)["problems"][0]


def test_experts_lists_what_a_recipe_may_use() -> None:
    rows = {row["name"]: row for row in _json(["experts", "--json"])["experts"]}
    assert rows["grabcut"]["roles"] == "segmenter"
    assert rows["rules"]["about"]


def _recipe(folder: Path) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(recipe(draw_items(folder / "items", 8))))
    return path


def _json(words: list[str]) -> dict:
    result = CliRunner().invoke(app, words)
    assert result.exception is None, result.exception
    return json.loads(result.stdout.strip().splitlines()[-1])
