"""`maskmix vqa-bench` as people type it: with a trained masker, killed in the middle, and with the endpoint gone."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.annotators.chat.scripted_server import ScriptedServer
from tests.annotators.chat.scripts import late
from tests.trainer.vqa.conftest import answering, pope_file, the_letter, vstar_lines
from trainer.config import TrainRecipe
from trainer.fit import fit

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.slow


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "maskmix", "vqa-bench", *words]


def said(words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_a_killed_command_goes_on_and_repeats_no_more_than_was_on_its_way(
    squares: Path, recipe: TrainRecipe, tmp_path: Path
):
    run = fit(squares, recipe, out=tmp_path / "run")
    file = vstar_lines(tmp_path / "v", 30)
    with ScriptedServer(late(0.05, then=answering(the_letter))) as server:
        words = command(
            str(file), "--format", "vstar", "--endpoint", server.base_url, "--model", "scripted", "--masker", str(run),
            "--effect", "blur", "--concurrency", "2", "--out",
        )  # fmt: skip
        nowhere = subprocess.DEVNULL
        process = subprocess.Popen(
            [*words, str(tmp_path / "o")], cwd=ROOT, stdout=nowhere, stderr=nowhere
        )
        until = time.monotonic() + 60
        while len(server.seen) < 15 and time.monotonic() < until:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        asked = len(server.seen)
        assert 15 <= asked < 30
        done = said([*words, str(tmp_path / "o"), "--json"])
        assert done.returncode == 0, done.stderr
        times = Counter(seen.question for seen in server.answered())
        assert sum(count - 1 for count in times.values()) <= 2, "what the kill cut off on its way"
        found = json.loads(done.stdout.splitlines()[-1])
        assert found["failures"] == []
        assert found["plan"]["masker"].startswith("run@")
        assert [row["asked"] for row in found["rows"].values()] == [30, 30]
        before = len(server.seen)
        again = said([*words, str(tmp_path / "o")])
        assert again.stdout == found["table"]
        assert len(server.seen) == before
    gone = said([*words, str(tmp_path / "o")])
    assert (gone.returncode, gone.stdout) == (0, found["table"]), "nothing is left to ask"


def test_what_a_user_can_mend_is_one_line_and_a_refusing_endpoint_is_exit_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = pope_file(tmp_path, "random", 1)
    images = ["--images", str(tmp_path / "val2014")]
    with ScriptedServer(answering(lambda seen: "yes")) as server:
        options = ["--endpoint", server.base_url, "--model", "m", "--out", str(tmp_path / "o")]
        words = [str(file), "--format", "pope", *options]
        done = said(command(*words))
        assert done.returncode == 2
        assert "set --images to its folder" in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
        done = said(command(str(file), "--format", "mme", *options))
        assert (done.returncode, "expected one of vstar, pope, egothink" in done.stderr) == (2, True)  # fmt: skip
        done = said(command(*words, *images, "--calls", "1"))
        assert done.returncode == 3
        assert done.stderr.splitlines()[-1].startswith("stopped: ")
        done = said(command(*words, *images))
        assert done.returncode == 0
        assert done.stdout.splitlines()[1].split()[:3] == ["random", "m", "50.00"]
