"""The circuit breaker: closed, open, half-open, and who is to blame."""

import random
import threading
import time

import pytest

from annotators.chat import breaker as breaker_module
from annotators.chat.breaker import THRESHOLD, Breaker, Pass


@pytest.fixture
def breaker(monkeypatch: pytest.MonkeyPatch) -> Breaker:
    monkeypatch.setattr(breaker_module, "COOL_DOWN", 0.05)
    return Breaker(longest=0.2, rng=random.Random(0))


def take(breaker: Breaker) -> Pass:
    given = breaker.ask_pass()
    assert isinstance(given, Pass), f"closed for {given} s"
    return given


def trip(breaker: Breaker) -> None:
    for number in range(THRESHOLD):
        breaker.failed(take(breaker), f"question {number}")


def wait_for_probe(breaker: Breaker) -> Pass:
    until = time.monotonic() + 5
    while not isinstance(given := breaker.ask_pass(), Pass):
        assert time.monotonic() < until
        time.sleep(min(given, 0.01))
    return given


def test_it_stays_closed_while_failures_are_mixed_with_successes(breaker: Breaker):
    for _ in range(5):
        for _ in range(THRESHOLD - 1):
            breaker.failed(take(breaker), "same")
        breaker.succeeded()
    assert not take(breaker).probe


def test_failures_in_a_row_open_it_and_nobody_calls(breaker: Breaker):
    trip(breaker)
    assert 0 < breaker.ask_pass() <= 0.05


def test_after_the_cool_down_one_of_many_threads_may_try(breaker: Breaker):
    trip(breaker)
    time.sleep(0.06)
    passes: list[Pass | float] = []
    threads = [threading.Thread(target=lambda: passes.append(breaker.ask_pass())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [p for p in passes if isinstance(p, Pass)] == [Pass(True)]


def test_a_probe_that_succeeds_lets_everybody_in(breaker: Breaker):
    trip(breaker)
    assert wait_for_probe(breaker).probe
    breaker.succeeded()
    assert [take(breaker).probe for _ in range(3)] == [False] * 3


def test_a_probe_that_meets_a_busy_server_lets_everybody_in(breaker: Breaker):
    trip(breaker)
    breaker.put_off(wait_for_probe(breaker), "question")
    assert not take(breaker).probe


def test_probes_that_fail_wait_longer_each_time_up_to_the_longest(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(breaker_module, "COOL_DOWN", 0.02)
    breaker = Breaker(longest=0.15, rng=random.Random(0))
    trip(breaker)
    waits: list[float] = []
    for _ in range(4):
        breaker.failed(wait_for_probe(breaker), "question")
        left = breaker.ask_pass()
        assert not isinstance(left, Pass)
        waits.append(left)
    assert waits[-1] > waits[0]
    assert max(waits) <= 0.15


def test_a_probe_that_was_not_made_is_left_to_the_next(breaker: Breaker):
    trip(breaker)
    breaker.gave_back(wait_for_probe(breaker))
    assert take(breaker).probe


def test_late_failures_of_calls_from_before_do_not_end_the_probe(breaker: Breaker):
    early = [take(breaker) for _ in range(THRESHOLD + 2)]
    for number, given in enumerate(early[:THRESHOLD]):
        breaker.failed(given, str(number))
    probe = wait_for_probe(breaker)
    breaker.failed(early[-1], "late")
    assert breaker.ask_pass() == breaker_module.POLL, "the probe is still on its way"
    breaker.failed(probe, "probe")
    assert not isinstance(breaker.ask_pass(), Pass)


def test_it_counts_the_questions_that_failed_since_the_last_success(breaker: Breaker):
    for question in ("a", "a", "b"):
        breaker.failed(take(breaker), question)
    assert breaker.failing_questions() == 2
    breaker.succeeded()
    assert breaker.failing_questions() == 0
