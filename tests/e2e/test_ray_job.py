"""The cluster's door: the cluster file is one that Ray accepts, and a submitted build resumes after a stop."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import psutil
import pytest
import yaml

from pipeline.build import build
from pipeline.executors.local import run_local
from tests.e2e.lines import draw_items, job, recipe, tree

ROOT = Path(__file__).parents[2]
AUTH = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
"""The job server runs any code it is sent, so it asks for a token; this one lives as long as the test."""


def test_ray_accepts_the_cluster_file() -> None:
    import ray.autoscaler
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load((ROOT / "ray_cluster.yaml").read_text())
    folder = Path(ray.autoscaler.__file__).parent
    jsonschema.validate(config, json.loads((folder / "ray-schema.json").read_text()))
    prepared = prepare_config(config)
    validate_config(prepared)
    assert set(prepared["available_node_types"]) == {"head", "gpu_worker", "cpu_worker"}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[str]:
    """A Ray head of this machine with its job server, on loopback; yields the server's address."""
    port, dashboard = _free_port(), _free_port()
    folder = Path("/tmp") / f"maskmix-ray-{os.getpid()}"  # socket paths must be short
    command = [
        *_ray("start"), "--head", "--block", "--num-cpus", "4", "--node-ip-address", "127.0.0.1",
        "--port", str(port), "--dashboard-host", "127.0.0.1", "--dashboard-port", str(dashboard),
        "--include-dashboard", "true", "--disable-usage-stats", "--temp-dir", str(folder),
    ]  # fmt: skip
    address = f"http://127.0.0.1:{dashboard}"
    with (tmp_path / "head.log").open("w") as log:
        head = subprocess.Popen(
            command, stdout=log, stderr=log, start_new_session=True, env=os.environ | AUTH
        )
        try:
            until = time.monotonic() + 240
            while not _answers(f"{address}/api/jobs/"):
                assert head.poll() is None, (tmp_path / "head.log").read_text()
                assert time.monotonic() < until, (tmp_path / "head.log").read_text()
                time.sleep(0.5)
            yield address
        finally:
            family = [*psutil.Process(head.pid).children(recursive=True), psutil.Process(head.pid)]
            for process in family:
                process.kill()
            psutil.wait_procs(family, timeout=30)
            head.wait(30)
            shutil.rmtree(folder, ignore_errors=True)


def _answers(url: str) -> bool:
    token = {"Authorization": f"Bearer {AUTH['RAY_AUTH_TOKEN']}"}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, headers=token), timeout=10
        ) as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.ray
def test_a_submitted_build_resumes_after_a_stop(cluster: str, tmp_path: Path) -> None:
    items = draw_items(tmp_path / "items", 22)
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(recipe(items, seconds=0.3)))
    out = tmp_path / "out"
    submit = [*_ray("job"), "submit", "--address", cluster, "--working-dir", str(ROOT)]
    command = ["--", sys.executable, "-m", "maskmix", "build", "--recipe", str(path)]
    command += ["--out", str(out), "--workers", "2"]

    _run([*submit, "--no-wait", "--submission-id", "first", *command])
    until = time.monotonic() + 180
    while len(list((out / "receipts").glob("*.json"))) < 2:
        assert time.monotonic() < until, "the submitted build made no progress"
        time.sleep(0.1)
    _run([*_ray("job"), "stop", "--address", cluster, "first"])
    assert not (out / "manifest.json").exists()
    kept = {p: p.stat().st_mtime_ns for p in (out / "receipts").iterdir()}

    said = _run([*submit, "--submission-id", "second", *command])
    assert "resuming:" in said
    assert {p: p.stat().st_mtime_ns for p in kept} == kept
    build(job(recipe(items, seconds=0.3), tmp_path / "whole"), run_local)
    assert tree(out) == tree(tmp_path / "whole")


def _run(command: list[str]) -> str:
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | AUTH
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def _ray(*words: str) -> list[str]:
    return [str(Path(sys.executable).parent / "ray"), *words]


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
