"""Experts in pools of their own: the same bytes as inside the workers, whoever dies, hangs or halts."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from annotators.halt import Halt
from pipeline.build import build
from pipeline.executors.local import run_local
from pipeline.line import SPENDING, open_ledger, resolve
from pipeline.manifest import read_manifest, read_receipts
from pipeline.panel_usage import read_usage
from pipeline.reader import iterate_samples
from pipeline.validate import verify
from tests.e2e.lines import draw_items, job, recipe, tree

ITEMS = 14


@pytest.fixture
def items(tmp_path: Path) -> Path:
    return draw_items(tmp_path / "items", ITEMS)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """One Ray of four CPUs, and what it takes for a GPU, for all builds of this file."""
    import ray

    ray.init(
        num_cpus=4, num_gpus=1, include_dashboard=False, log_to_driver=False, logging_level="error"
    )
    yield
    ray.shutdown()


def pooled(raw: dict[str, Any], **of_expert: dict[str, Any]) -> dict[str, Any]:
    """The recipe with `resources` for the experts named."""
    for stage in raw["stages"].values():
        for use in stage.get("experts", []):
            if use["use"] in of_expert:
                use["resources"] = of_expert[use["use"]]
    return raw


def paid(items: Path, **budget: Any) -> dict[str, Any]:
    """A recipe whose last expert costs a call a sample."""
    raw = recipe(items)
    raw["stages"]["segment"]["experts"][2] = {"use": "fake_payer"}
    return raw | {"budget": budget}


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize("replicas", [1, 3])
def test_pools_give_the_bytes_of_a_local_build(cluster, items, tmp_path, replicas):
    from pipeline.executors.ray import run_on_ray

    build(job(recipe(items), tmp_path / "local"), run_local)
    raw = pooled(
        recipe(items),
        fake_rewriter={"cpus": 0},
        fake_segmenter={"replicas": 2, "cpus": 0, "gpus": 0.5},
        fake_text_segmenter={"replicas": replicas, "cpus": 0.5},
    )
    out = tmp_path / "pools"
    build(job(raw, out), run_on_ray)
    assert tree(out) == tree(tmp_path / "local")
    usage, units = read_usage(out, range(4))
    assert units == 4
    assert {u.asked for u in usage} == {ITEMS}


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize("victim", ["Replica.answer", "_Worker.run"])
def test_a_process_killed_in_the_middle_of_a_build_costs_nothing(cluster, items, tmp_path, victim):
    import psutil

    from pipeline.executors.ray import run_on_ray

    raw = recipe(items, seconds=0.15)
    build(job(raw, tmp_path / "local"), run_local)
    out = tmp_path / "pools"
    running = job(pooled(raw, fake_faulty={"replicas": 2, "cpus": 0.5}), out)
    killed: list[int] = []

    def kill() -> None:
        until = time.monotonic() + 120
        while len(killed) < 2 and time.monotonic() < until:
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    if victim in " ".join(process.cmdline()) and process.pid not in killed:
                        process.kill()
                        killed.append(process.pid)
                        break
            time.sleep(0.05)

    thread = threading.Thread(target=kill)
    thread.start()
    build(running, run_on_ray)
    thread.join()
    assert len(killed) == 2
    assert tree(out) == tree(tmp_path / "local")
    assert read_manifest(out).totals.faults == {}


@pytest.mark.slow
@pytest.mark.ray
def test_a_sample_that_kills_its_expert_costs_one_vote(cluster, tmp_path):
    from pipeline.executors.ray import run_on_ray

    items = draw_items(tmp_path / "items", 8, {2: "the deadly ball"})
    out = tmp_path / "out"
    raw = recipe(items, die_on="deadly")
    build(job(pooled(raw, fake_faulty={"replicas": 2, "cpus": 0.5}), out), run_on_ray)
    totals = read_manifest(out).totals
    assert (totals.inputs, totals.committed, totals.quarantined) == (8, 8, 0)
    assert totals.faults == {"fake_faulty": 1}
    deadly = next(s for s in iterate_samples(out) if s.id == "s-0002")
    assert deadly.faults == ("fake_faulty: ExpertDied: its process died 3 times on this sample",)
    spoke = [{c.made_by.expert for c in s.candidates or ()} for s in iterate_samples(out)]
    assert ["fake_faulty" in experts for experts in spoke] == [n != 2 for n in range(8)]
    assert verify(out).ok


@pytest.mark.slow
@pytest.mark.ray
def test_what_an_expert_raises_in_a_pool_reads_as_it_does_locally(cluster, tmp_path):
    from pipeline.executors.ray import run_on_ray

    items = draw_items(tmp_path / "items", 6, {1: "the cursed ball"})
    raw = recipe(items, raise_on="cursed")
    build(job(raw, tmp_path / "local"), run_local)
    out = tmp_path / "pools"
    build(job(pooled(raw, fake_faulty={"cpus": 0.5}), out), run_on_ray)
    assert tree(out) == tree(tmp_path / "local")
    assert read_manifest(out).totals.faults == {"fake_faulty": 1}


@pytest.mark.slow
@pytest.mark.ray
def test_an_expert_that_hangs_is_named_and_costs_a_vote_and_not_the_build(
    cluster, tmp_path, monkeypatch, caplog
):
    from pipeline.executors.ray import run_on_ray

    monkeypatch.setattr("pipeline.crew.PATIENCE", 1)
    items = draw_items(tmp_path / "items", 6, {4: "the endless ball"})
    out = tmp_path / "out"
    raw = pooled(recipe(items, hang_on="endless"), fake_faulty={"cpus": 0.5, "timeout": 4})
    build(job(raw, out), run_on_ray)
    totals = read_manifest(out).totals
    assert (totals.committed, totals.faults) == (6, {"fake_faulty": 1})
    endless = next(s for s in iterate_samples(out) if s.id == "s-0004")
    assert endless.faults == ("fake_faulty: TimeoutError: no answer within 4 s",)
    assert "expert 'fake_faulty' has not answered for" in caplog.text


@pytest.mark.slow
@pytest.mark.ray
def test_an_expert_that_dies_on_everything_stops_the_build(cluster, tmp_path):
    from pipeline.executors.ray import run_on_ray

    items = draw_items(tmp_path / "items", 8, dict.fromkeys(range(8), "the deadly ball"))
    raw = pooled(recipe(items, die_on="deadly"), fake_faulty={"replicas": 3, "cpus": 0.25})
    with pytest.raises(Halt, match="'fake_faulty' died and gave no answer 20 times in a row"):
        build(job(raw, tmp_path / "out"), run_on_ray)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize("resources", [None, {"cpus": 0.5}])
def test_a_process_that_sees_another_model_ends_the_build_and_blames_no_input(
    cluster, items, tmp_path, monkeypatch, resources
):
    from pipeline.executors.ray import run_on_ray

    monkeypatch.setenv("MASKMIX_CHAT_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("MASKMIX_CHAT_API_KEY", "none")
    monkeypatch.setenv("MASKMIX_CHAT_MODEL", "only-the-driver-knows")
    raw = recipe(items)
    raw["stages"]["rewrite"]["experts"] = [{"use": "chat"}]
    raw = pooled(raw, **({"chat": resources} if resources else {}))
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="MASKMIX_CHAT"):
        build(job(raw, out), run_on_ray)
    assert not list(read_receipts(out))


@pytest.mark.slow
@pytest.mark.ray
def test_pools_that_do_not_fit_are_refused_before_anything_waits(cluster, items, tmp_path):
    from pipeline.executors.ray import run_on_ray

    raw = pooled(recipe(items), fake_segmenter={"replicas": 4}, fake_faulty={"gpus": 1.5})
    with pytest.raises(ValueError, match="expert pools do not fit") as refused:
        build(job(raw, tmp_path / "out"), run_on_ray)
    said = str(refused.value)
    assert "fake_segmenter 4 x (1 CPU)" in said
    assert "one worker (1 CPU) ask for 6 CPU, 1.5 GPU, and it has 4 CPU, 1 GPU" in said


def executor_of(place: str) -> Any:
    if place == "local":
        return run_local
    from pipeline.executors.ray import run_on_ray

    return partial(run_on_ray, workers=2)


PLACES = [
    "local",
    pytest.param("ray", marks=[pytest.mark.slow, pytest.mark.ray]),
    pytest.param("pool", marks=[pytest.mark.slow, pytest.mark.ray]),
]


@pytest.mark.parametrize("place", PLACES)
def test_a_spent_budget_stops_the_build_and_a_larger_one_finishes_it(
    place, request, items, tmp_path
):
    if place != "local":
        request.getfixturevalue("cluster")
    resources = {"fake_payer": {"replicas": 2, "cpus": 0.5}} if place == "pool" else {}
    out = tmp_path / "out"
    with pytest.raises(Halt, match=r"budget of 9 calls is spent.*\(\d of 4 units committed\)"):
        build(job(pooled(paid(items, calls=9), **resources), out), executor_of(place))
    assert not (out / "manifest.json").exists()
    committed = {r.unit for r in read_receipts(out)}
    assert len(committed) < 4
    assert spent(out).calls == 9
    build(job(pooled(paid(items, calls=100), **resources), out), executor_of(place))
    build(job(paid(items), tmp_path / "whole"), run_local)
    assert tree(out) == tree(tmp_path / "whole")
    assert spent(out).calls >= ITEMS
    assert verify(out).ok


def spent(out: Path) -> Any:
    name = {"name": "x", "source": {"kind": "jsonl", "path": "x"}}
    return open_ledger(out, resolve(name).budget).totals()["fake_payer"]


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["local", pytest.param("ray", marks=pytest.mark.ray)])
def test_the_command_line_ends_with_3_and_one_line(executor, items, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(paid(items, calls=6)))
    command = [
        sys.executable, "-m", "maskmix", "build", "--recipe", str(path), "--out", str(tmp_path / "out"),
        "--executor", executor, *(["--workers", "4"] if executor == "ray" else []),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 3, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("stopped: the budget of 6 calls is spent")
    assert "of 4 units committed)" in last
    assert "Traceback" not in done.stderr
    assert (tmp_path / "out" / SPENDING).exists()
    again = subprocess.run(
        [*command, "--set", "budget.calls=100"], capture_output=True, text=True, timeout=240
    )
    assert again.returncode == 0, again.stderr
