"""An expert of another package, installed with pip and found by name, whose model runs in another process."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from annotators.phrase import Phrase
from tests.e2e.lines import draw_items, recipe

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "tests" / "third_party_expert"
BUILD = """
import json, sys
from pathlib import Path
from annotators.registry import known_experts
from pipeline.build import build
from pipeline.executors.local import run_local
from pipeline.reader import iterate_samples
from tests.e2e.lines import job
manifest = build(job(json.loads(sys.argv[1]), Path(sys.argv[2])), run_local)
samples = list(iterate_samples(Path(sys.argv[2])))
print(json.dumps({
    "known": "outside" in known_experts(),
    "committed": manifest.totals.committed,
    "faults": manifest.totals.faults,
    "outside": sum(c.made_by.expert == "outside" for s in samples for c in s.candidates or ()),
}))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Where pip put the package."""
    target = tmp_path_factory.mktemp("site")
    source = tmp_path_factory.mktemp("source") / "package"
    subprocess.run(
        ["cp", "-r", str(PACKAGE), str(source)], check=True
    )  # setuptools builds in the source folder
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
    ]
    done = subprocess.run(
        [*pip, "--target", str(target), str(source)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture
def expert(monkeypatch):
    monkeypatch.syspath_prepend(str(PACKAGE))
    from outside_expert.expert import OutsideExpert

    made = OutsideExpert(timeout=20.0)
    yield made
    made.close()


def picture(seed=0):
    image = np.full((20, 30, 3), 60, np.uint8)
    image[5 + seed : 12, 8:20] = 220
    return image


def said(text):
    return [Phrase(text=text, role="raw", made_by="test")]


@pytest.mark.slow
def test_a_build_finds_it_by_name(installed, tmp_path):
    raw = recipe(draw_items(tmp_path / "items", 6, {2: "crash now please"}))
    raw["stages"]["rewrite"]["experts"] = [{"use": "rules"}]
    raw["stages"]["segment"]["experts"].append({"use": "outside", "options": {"timeout": 30}})
    raw["stages"]["segment"]["experts"][2]["options"] = {}
    known = os.environ | {"PYTHONPATH": f"{installed}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-c", BUILD, json.dumps(raw), str(tmp_path / "out")],
        env=known, cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told == {"known": True, "committed": 6, "faults": {"outside": 1}, "outside": 5}


@pytest.mark.slow
def test_a_death_costs_its_row_and_the_next_has_a_new_worker(expert):
    rows = expert.segment_text(
        [picture(), picture(1), picture()], [said("box"), said("crash"), said("box")]
    )
    assert isinstance(rows[1], ConnectionError)
    assert "status 3" in str(rows[1])
    assert rows[0] == rows[2]
    assert rows[0][0].mask.array()[5:12, 8:20].all()
    assert rows[0][0].mask.area() == 7 * 12


@pytest.mark.slow
def test_what_the_worker_raises_is_the_row_s_answer_and_it_lives_on(expert):
    first = expert.segment_text([picture()], [said("box")])[0]
    process = expert._worker.process
    bad = expert._worker.ask({"size_hw": [1, 1]}, 20.0)
    assert "KeyError" in bad["error"]
    assert expert.segment_text([picture()], [said("box")])[0] == first
    assert expert._worker.process is process


@pytest.mark.slow
def test_a_worker_that_hangs_is_given_up(expert):
    expert.segment_text([picture()], [said("box")])
    process = expert._worker.process
    process.send_signal(signal.SIGSTOP)
    expert.timeout = 0.2
    row = expert.segment_text([picture()], [said("box")])[0]
    assert isinstance(row, TimeoutError)
    assert process.poll() is not None
    expert.timeout = 20.0
    assert len(expert.segment_text([picture()], [said("box")])[0]) == 1


@pytest.mark.slow
def test_it_ends_with_its_expert(monkeypatch):
    monkeypatch.syspath_prepend(str(PACKAGE))
    from outside_expert.expert import OutsideExpert

    made = OutsideExpert()
    made.segment_text([picture()], [said("box")])
    process = made._worker.process
    del made
    assert process.wait(timeout=10) is not None


def test_nothing_asked_starts_nothing(expert):
    assert expert.segment_text([picture()], [[]]) == [[]]
    assert expert._worker is None
