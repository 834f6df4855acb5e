"""A folder has one writer at a time, and a death lets go of it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.lock import LOCK, held

ROOT = Path(__file__).parents[2]
HOLDS = """
import sys
from pathlib import Path
from pipeline.lock import held

with held(Path(sys.argv[1]), what="being held"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_writer_is_refused_until_the_first_one_dies(tmp_path: Path):
    command = [sys.executable, "-c", HOLDS, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as process:  # type: ignore[call-overload]
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match="is busy by another"), held(tmp_path, what="busy"):
            pass
        os.kill(process.pid, signal.SIGKILL)
    with held(tmp_path, what="busy"):
        assert (tmp_path / LOCK).read_bytes() == b""
