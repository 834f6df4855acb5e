"""Signals: the step ends, the state is saved, the process says which signal it was."""

import os
import pickle
import signal
import threading
from pathlib import Path

import pytest

from tests.trainer.engine.tiny_training import Numbers, lines, numbers_at, run, same
from trainer.engine.stop import Interrupted, Stop


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_step_end_saves_and_the_run_goes_on_from_there(
    tmp_path: Path, signum: signal.Signals
):
    def signalled(step: int) -> Numbers:
        if step == 7:
            os.kill(os.getpid(), signum)
        return numbers_at(step)

    before = signal.getsignal(signum)
    with pytest.raises(Interrupted, match="after step 8; the state is saved") as caught:
        run(tmp_path / "parts", batch_at=signalled)
    assert caught.value.exit_code == 128 + signum
    assert signal.getsignal(signum) is before
    resumed, done = run(tmp_path / "parts")
    assert done.resumed_at == 8
    assert same(resumed, run(tmp_path / "whole")[0])
    assert lines(tmp_path / "whole") == lines(tmp_path / "parts")


def test_a_signal_in_the_last_step_comes_too_late_to_stop_anything(tmp_path: Path):
    def signalled(step: int) -> Numbers:
        if step == 19:
            os.kill(os.getpid(), signal.SIGTERM)
        return numbers_at(step)

    assert run(tmp_path, batch_at=signalled)[1].steps == 20


def test_a_second_sigterm_changes_nothing_and_a_second_sigint_does_not_wait():
    with Stop() as stop:
        assert stop.asked() == 0
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.asked() == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_file_asks_too_and_a_signal_can_be_passed_on_through_one(tmp_path: Path):
    file = tmp_path / "stop"
    with Stop(tell=file):
        os.kill(os.getpid(), signal.SIGTERM)
    assert Stop(file=file).asked() == signal.SIGTERM
    file.write_text("")
    assert Stop(file=file).asked() == signal.SIGTERM


def test_outside_the_main_thread_only_the_file_counts(tmp_path: Path):
    heard = []

    def elsewhere() -> None:
        with Stop(file=tmp_path / "stop") as stop:
            heard.append(stop.asked())
            (tmp_path / "stop").write_text("2")
            heard.append(stop.asked())

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert heard == [0, 2]


def test_an_interruption_crosses_to_another_process():
    stop = pickle.loads(pickle.dumps(Interrupted(signal.SIGTERM, 5)))
    assert (str(stop), stop.exit_code) == (str(Interrupted(15, 5)), 143)
