"""Nothing that a training has started outlives it when it is killed, however early that comes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOADS = """
from tests.trainer.objectives.little_batch import little_batch
from trainer.data.loader import prefetch

def batch_at(step):
    return little_batch()

if __name__ == "__main__":
    for _ in prefetch(batch_at, start=0, stop=10**6, workers=2):
        pass
"""
TRAINS = """
import time
from trainer.engine.side_by_side import run_side_by_side

if __name__ == "__main__":
    list(run_side_by_side(time.sleep, [(0.1,), (0.1,), (600,)], workers=2))
"""


def workers(pid: int) -> list[int]:
    """Processes that multiprocessing started for `pid`, as soon as they are there."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    command = {int(p): Path(f"/proc/{p}/cmdline").read_bytes() for p in found}
    return [p for p, words in command.items() if b"spawn_main" in words]


def lives(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.slow
@pytest.mark.parametrize("program", [LOADS, TRAINS], ids=["loader", "side-by-side"])
@pytest.mark.parametrize("after", [0.0, 4.0], ids=["at-once", "later"])
def test_a_training_that_is_killed_leaves_no_process(program: str, after: float, tmp_path: Path):
    (tmp_path / "program.py").write_text(program)
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(tmp_path / "program.py")]
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL) as process:
        until = time.monotonic() + 60
        while len(workers(process.pid)) < 2:
            assert time.monotonic() < until, "no workers"
            time.sleep(0.001)
        time.sleep(after)
        left = workers(process.pid)
        process.send_signal(signal.SIGKILL)
    assert left
    until = time.monotonic() + 30
    while any(lives(pid) for pid in left):
        assert time.monotonic() < until, "a worker outlives its training"
        time.sleep(0.05)
