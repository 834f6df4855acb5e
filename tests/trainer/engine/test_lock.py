"""A run folder is written by one training at a time, and a death lets go of it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.trainer.engine.tiny_training import run
from trainer.engine.lock import held

HOLDS = """
import sys
from pathlib import Path
from trainer.engine.lock import held

with held(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
ROOT = Path(__file__).parents[3]


def test_a_second_training_is_told_who_holds_the_folder_until_that_one_dies(tmp_path: Path):
    folder = tmp_path / "run"
    command = [sys.executable, "-c", HOLDS, str(folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as process:  # type: ignore[call-overload]
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match=f"being trained by process {process.pid} of "):
            run(folder)
        assert not (folder / "log.jsonl").exists()
        os.kill(process.pid, signal.SIGKILL)
    run(folder)
    assert (folder / "log.jsonl").exists()
    with held(folder), pytest.raises(ValueError, match=f"process {os.getpid()} of "), held(folder):
        pass
