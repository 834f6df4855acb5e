"""The build as a user runs it: the same bytes wherever it runs, resume after kills, nothing lost, clear refusals."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.build import build
from pipeline.executors.local import run_local
from pipeline.manifest import read_manifest, read_receipts
from pipeline.reader import iterate_samples
from tests.e2e.lines import draw_items, job, recipe, tree

ITEMS = 22


@pytest.fixture
def items(tmp_path: Path) -> Path:
    return draw_items(tmp_path / "items", ITEMS)


def test_a_build_commits_every_input_and_reads_back(items: Path, tmp_path: Path) -> None:
    manifest = build(job(recipe(items), tmp_path / "out"), run_local)
    assert manifest.totals.inputs == ITEMS
    assert manifest.totals.committed == ITEMS
    assert manifest.units == len(manifest.shards) == 6
    samples = list(iterate_samples(tmp_path / "out"))
    assert [s.id for s in samples] == [f"s-{n:04d}" for n in range(ITEMS)]
    experts = {c.made_by.expert for s in samples for c in s.candidates or ()}
    assert len(experts) >= 3
    assert all(s.label is not None and s.quality is not None for s in samples)


def test_building_again_changes_nothing(items: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build(job(recipe(items), out), run_local)
    before = {p: p.stat().st_mtime_ns for p in (out / "shards").iterdir()}
    ran = []
    build(job(recipe(items), out), run_local, on_receipt=ran.append)
    assert not ran
    assert {p: p.stat().st_mtime_ns for p in (out / "shards").iterdir()} == before


def test_a_lost_unit_is_built_again_with_the_same_bytes(items: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build(job(recipe(items), out), run_local)
    whole = tree(out)
    (out / "receipts" / "train-000002.json").unlink()
    (out / "manifest.json").unlink()
    (out / "shards" / ".train-000002.tar.99.tmp").write_bytes(b"cut")
    build(job(recipe(items), out), run_local)
    assert tree(out) == whole
    assert not list(out.rglob("*.tmp"))


def test_an_expert_that_raises_costs_its_vote_and_is_counted(tmp_path: Path) -> None:
    items = draw_items(tmp_path / "items", 8, {3: "the cursed ball"})
    manifest = build(job(recipe(items, raise_on="cursed"), tmp_path / "out"), run_local)
    assert manifest.totals.committed == 8
    assert manifest.totals.faults == {"fake_faulty": 1}
    cursed = next(s for s in iterate_samples(tmp_path / "out") if s.id == "s-0003")
    assert cursed.faults == ("fake_faulty: RuntimeError: asked to raise on 'cursed'",)
    assert "fake_faulty" not in {c.made_by.expert for c in cursed.candidates or ()}


def test_limit_takes_the_first_inputs(items: Path, tmp_path: Path) -> None:
    manifest = build(job(recipe(items) | {"limit": 5}, tmp_path / "out"), run_local)
    assert manifest.totals.inputs == 5
    assert manifest.units == 2


def test_rejects_are_written_and_counted(tmp_path: Path) -> None:
    items = draw_items(tmp_path / "items", 6)
    (items.parent / "2.png").write_bytes(b"")
    (items.parent / "4.png").unlink()
    manifest = build(job(recipe(items), tmp_path / "out"), run_local)
    totals = manifest.totals
    assert totals.inputs == totals.committed + sum(totals.rejected.values()) + totals.quarantined
    assert totals.committed == 4
    lines = [
        json.loads(line)
        for path in sorted((tmp_path / "out" / "rejects").iterdir())
        for line in path.read_text().splitlines()
    ]
    assert {line["sample_id"] for line in lines} == {"s-0002", "s-0004"}
    assert all(line["stage"] == "source" for line in lines)


def test_another_recipe_is_refused_and_the_difference_named(items: Path, tmp_path: Path) -> None:
    build(job(recipe(items), tmp_path / "out"), run_local)
    with pytest.raises(ValueError, match=r"another recipe \(seed: 0 there, 7 now"):
        build(job(recipe(items) | {"seed": 7}, tmp_path / "out"), run_local)


def test_a_source_that_grew_is_refused(items: Path, tmp_path: Path) -> None:
    build(job(recipe(items), tmp_path / "out"), run_local)
    line = json.loads(items.read_text().splitlines()[0]) | {"id": "new"}
    with items.open("a") as file:
        file.write(json.dumps(line) + "\n")
    with pytest.raises(ValueError, match="begun with 22 inputs and the source now has 23"):
        build(job(recipe(items), tmp_path / "out"), run_local)


def test_a_folder_of_something_else_is_refused(items: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(ValueError, match="not a dataset folder"):
        build(job(recipe(items), tmp_path / "photos"), run_local)
    assert [p.name for p in (tmp_path / "photos").iterdir() if p.name != ".lock"] == ["holiday.jpg"]


def test_an_output_that_is_a_file_is_refused(items: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("I am a file")
    with pytest.raises(OSError, match="give a folder as --out"):
        build(job(recipe(items), tmp_path / "out"), run_local)


def test_a_second_driver_is_refused(items: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def intrude(receipt: object) -> None:
        with pytest.raises(ValueError, match="being built by another process"):
            build(job(recipe(items), out), run_local)

    build(job(recipe(items), out), run_local, on_receipt=intrude)


def test_a_missing_shard_is_named(items: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build(job(recipe(items), out), run_local)
    (out / "shards" / "train-000001.tar").unlink()
    with pytest.raises(ValueError, match=r"train-000001\.tar is missing or cut"):
        build(job(recipe(items), out), run_local)
    with pytest.raises(ValueError, match=r"train-000001\.tar is missing"):
        list(iterate_samples(out))


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_is_a_clear_error_and_resumes(items: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk]).returncode:
        pytest.skip("this machine does not allow mounting a tmpfs")
    try:
        with pytest.raises(OSError, match="disk is full"):
            build(job(recipe(items), disk / "out"), run_local)
        assert not list(disk.rglob("*.tmp"))
        before = len(list(read_receipts(disk / "out")))
        subprocess.run(["mount", "-o", "remount,size=8m", disk], check=True)
        build(job(recipe(items), disk / "out"), run_local)
        assert before < 6
        build(job(recipe(items), tmp_path / "out"), run_local)
        assert tree(disk / "out") == tree(tmp_path / "out")
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        (tmp_path / "more").mkdir()
        with pytest.raises(OSError, match="read-only"):
            build(job(recipe(items) | {"seed": 1}, disk / "new"), run_local)
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.slow
@pytest.mark.ray
def test_ray_gives_the_bytes_of_a_local_build_with_one_or_four_workers(
    items: Path, tmp_path: Path
) -> None:
    from pipeline.executors.ray import run_on_ray

    build(job(recipe(items), tmp_path / "local"), run_local)
    for workers in (1, 4):
        out = tmp_path / f"ray{workers}"
        build(job(recipe(items), out), lambda j, u, w=workers: run_on_ray(j, u, workers=w))
        assert tree(out) == tree(tmp_path / "local")


@pytest.mark.slow
@pytest.mark.ray
def test_an_input_that_kills_its_worker_is_quarantined_alone(tmp_path: Path) -> None:
    from pipeline.executors.ray import run_on_ray

    items = draw_items(tmp_path / "items", 8, {2: "the deadly ball"})
    out = tmp_path / "out"
    build(job(recipe(items, die_on="deadly"), out), lambda j, u: run_on_ray(j, u, workers=2))
    totals = read_manifest(out).totals
    assert (totals.inputs, totals.committed, totals.quarantined) == (8, 7, 1)
    line = json.loads((out / "rejects" / "train-000000.jsonl").read_text())
    assert line == {
        "sample_id": "input-2",
        "stage": "quarantine",
        "reason": "error",
        "detail": "killed its worker three times",
    }


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize("executor", ["local", "ray"])
def test_a_killed_driver_resumes_to_the_same_bytes(
    items: Path, tmp_path: Path, executor: str
) -> None:
    out = tmp_path / "out"
    command = _command(items, out, executor)
    running = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    _wait_for(lambda: len(list((out / "receipts").glob("*.json"))) >= 2, running)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert not (out / "manifest.json").exists()
    subprocess.run(command, check=True, capture_output=True, timeout=240)
    build(job(recipe(items, seconds=0.15), tmp_path / "whole"), run_local)
    assert tree(out) == tree(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.ray
def test_a_killed_worker_costs_nothing(items: Path, tmp_path: Path) -> None:
    import psutil

    out = tmp_path / "out"
    running = subprocess.Popen(
        _command(items, out, "ray"), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    _wait_for(lambda: len(list((out / "receipts").glob("*.json"))) >= 1, running)
    killed = 0
    for child in psutil.Process(running.pid).children(recursive=True):
        if "_Worker.run" in " ".join(child.cmdline()):
            child.kill()
            killed += 1
            break
    assert killed == 1
    assert running.wait(240) == 0
    build(job(recipe(items, seconds=0.15), tmp_path / "whole"), run_local)
    assert tree(out) == tree(tmp_path / "whole")


def _command(items: Path, out: Path, executor: str) -> list[str]:
    path = items.parent / "recipe.yaml"
    path.write_text(json.dumps(recipe(items, seconds=0.15)))
    maskmix = [sys.executable, "-m", "maskmix", "build", "--recipe", str(path), "--out", str(out)]
    return [*maskmix, "--executor", executor]


def _wait_for(condition: object, running: subprocess.Popen[bytes]) -> None:
    assert callable(condition)
    until = time.monotonic() + 180
    while not condition():
        assert running.poll() is None, "the build ended before it could be killed"
        assert time.monotonic() < until, "the build made no progress"
        time.sleep(0.02)
