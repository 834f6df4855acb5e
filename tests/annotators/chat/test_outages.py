"""Servers that go away, in every way that a server can, and clients that are killed while they pay."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from annotators.chat.endpoint import Endpoint
from annotators.halt import Halt
from annotators.ledger import BudgetSpent, Ledger, Limits
from tests.annotators.chat.conftest import KEY
from tests.annotators.chat.questions import ask_for, many
from tests.annotators.chat.scripted_server import ScriptedServer, read_log
from tests.annotators.chat.scripts import Drop, Late, Reply, Status, always, first, good, late
from tests.conftest import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("short_waits")]  # slow together
Point = Callable[[ScriptedServer | str], None]


@contextmanager
def listening_and_silent() -> Iterator[str]:
    """A socket that the kernel accepts connections for, and that nobody ever reads."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def test_a_server_that_is_not_there_stops_the_build_when_patience_ends(point_at: Point):
    point_at(f"http://127.0.0.1:{free_port()}/v1")
    start = time.monotonic()
    with pytest.raises(Halt, match=r"does not answer for \d+ s .* run the same command again"):
        Endpoint("chat", patience=0.5).ask(many(20))
    assert 0.4 <= time.monotonic() - start < 10


def test_a_refused_connection_costs_nothing(point_at: Point, tmp_path: Path):
    point_at(f"http://127.0.0.1:{free_port()}/v1")
    ledger = Ledger(tmp_path / "calls.jsonl", Limits(calls=1))
    endpoint = Endpoint("chat", patience=0.3)
    endpoint.bill(ledger)
    with pytest.raises(Halt, match="does not answer"):
        endpoint.ask(many(1))
    assert ledger.totals() == {}


def test_a_connection_that_is_taken_and_never_answered_ends_by_timeout(point_at: Point):
    with listening_and_silent() as url:
        point_at(url)
        start = time.monotonic()
        with pytest.raises(Halt, match=r"does not answer .* was silent for 0\.1 s"):
            Endpoint("chat", timeout=0.1, patience=0.5).ask(many(4))
        assert time.monotonic() - start < 10


def test_one_question_that_is_never_answered_is_its_own_loss(point_at: Point):
    silent = Late(seconds=60, then=Drop())
    with ScriptedServer(lambda s: silent if "bad" in s.user else good(s)) as server:
        point_at(server)
        start = time.monotonic()
        answers = Endpoint("chat", timeout=0.2, patience=0.5).ask([ask_for("bad"), *many(3)])
        assert time.monotonic() - start < 10
        assert "was silent for 0.2 s" in str(answers[0])
        assert all(isinstance(answer, str) for answer in answers[1:])


@pytest.mark.slow
def test_while_the_breaker_is_open_a_dead_server_is_left_in_peace(point_at: Point):
    with ScriptedServer(always(Status(code=500))) as server:
        point_at(server)
        with pytest.raises(Halt, match=r"does not answer .*answered 500"):
            Endpoint("chat", patience=1.0, concurrency=16).ask(many(64))
    calls = sorted(seen.at - server.seen[0].at for seen in server.seen)
    assert sum(at > 0.4 for at in calls) <= 16, "one probe at a time, further and further apart"


def test_a_server_that_comes_back_within_patience_is_survived(point_at: Point, tmp_path: Path):
    ledger = Ledger(tmp_path / "calls.jsonl", Limits())
    with ScriptedServer(late(0.01, then=good)) as server:
        point_at(server)

        def outage() -> None:
            while sum(seen.answered for seen in [*server.seen]) < 10:
                time.sleep(0.002)
            server.stop()
            time.sleep(0.2)
            server.start()

        breaking = threading.Thread(target=outage)
        breaking.start()
        endpoint = Endpoint("chat", timeout=5.0, patience=30.0, concurrency=4)
        endpoint.bill(ledger)
        answers = endpoint.ask(many(40))
        breaking.join()
    assert all(isinstance(answer, str) for answer in answers)
    assert max(Counter(seen.question for seen in server.answered()).values()) == 1
    assert len(server.answered()) == 40
    assert ledger.totals()["chat"].calls >= len(server.seen), "cut calls are paid, refused ones not"


def test_an_answer_that_is_not_read_in_time_counts_as_a_spent_call(point_at: Point, tmp_path: Path):
    ledger = Ledger(tmp_path / "calls.jsonl", Limits())
    with ScriptedServer(first(1, Late(seconds=60, then=Drop()), then=good)) as server:
        point_at(server)
        endpoint = Endpoint("chat", timeout=0.2)
        endpoint.bill(ledger)
        assert isinstance(endpoint.ask([ask_for("the mug", max_tokens=1000)])[0], str)
    spent = ledger.totals()["chat"]
    assert spent.calls == 2
    assert spent.completion_tokens > 1000, "what was reserved for it, and the second one's own"


@pytest.mark.parametrize(
    ("script", "calls", "tokens"),
    [
        (always(Reply(text="{}", usage=(21, 4))), 1, (21, 4)),
        (first(3, Status(code=429), then=always(Reply(text="{}", usage=(21, 4)))), 4, (21, 4)),
        (first(1, Status(code=500), then=always(Reply(text="{}", usage=(1, 1)))), 2, (1, 1)),
        (always(Reply(text="{", finish="length", usage=(21, 64))), 1, (21, 64)),
        (always(Status(code=400)), 1, (0, 0)),
    ],
)
def test_every_try_that_reaches_the_server_is_booked_with_what_it_used(
    point_at: Point, tmp_path: Path, script, calls: int, tokens: tuple[int, int]
):
    ledger = Ledger(tmp_path / "calls.jsonl", Limits())
    with ScriptedServer(script) as server:
        point_at(server)
        endpoint = Endpoint("chat")
        endpoint.bill(ledger)
        endpoint.ask([ask_for("the mug")])
        assert len(server.seen) == calls
    spent = ledger.totals()["chat"]
    assert (spent.calls, spent.prompt_tokens, spent.completion_tokens) == (calls, *tokens)
    assert spent.seconds > 0


def test_tokens_that_the_server_does_not_count_are_booked_at_their_most(
    point_at: Point, tmp_path: Path
):
    ledger = Ledger(tmp_path / "calls.jsonl", Limits())
    with ScriptedServer(always(Reply(text="{}", usage=None))) as server:
        point_at(server)
        endpoint = Endpoint("chat")
        endpoint.bill(ledger)
        endpoint.ask([ask_for("the mug " * 100, max_tokens=50)])
    spent = ledger.totals()["chat"]
    assert spent.prompt_tokens > 800
    assert spent.completion_tokens == 50


@pytest.mark.parametrize(
    "limits", [Limits(calls=5), Limits(tokens=4000), Limits(money=0.004, prompt_price=1.0)]
)
def test_a_spent_budget_stops_the_build_and_a_larger_one_goes_on_without_paying_twice(
    point_at: Point, tmp_path: Path, limits: Limits
):
    ledger = Ledger(tmp_path / "calls.jsonl", limits)
    with ScriptedServer(late(0.01, then=always(Reply(text="{}", usage=(150, 20))))) as server:
        point_at(server)
        endpoint = Endpoint("chat", timeout=5.0)
        endpoint.bill(ledger)
        with pytest.raises(BudgetSpent, match=r"run the same command again"):
            endpoint.ask(many(30))
        before = len(server.seen)
        assert 0 < before < 30
        assert len(server.answered()) == before, "calls on their way are heard out"
        spent = ledger.totals()["chat"]
        assert spent.calls == before
        assert limits.calls is None or before == 5
        assert spent.prompt_tokens + spent.completion_tokens <= (limits.tokens or 10**9)
        assert spent.money <= (limits.money or 1.0)
        endpoint.bill(Ledger(tmp_path / "calls.jsonl", Limits()))
        assert endpoint.ask(many(30)) == ["{}"] * 30
        assert len(server.seen) == 30


def test_open_reservations_of_the_same_batch_are_no_end_of_the_budget(
    point_at: Point, tmp_path: Path
):
    with ScriptedServer(late(0.02, then=always(Reply(text="{}", usage=(10, 2))))) as server:
        point_at(server)
        endpoint = Endpoint("chat", timeout=5.0, concurrency=8)
        endpoint.bill(Ledger(tmp_path / "calls.jsonl", Limits(tokens=800)))
        assert endpoint.ask(many(12)) == ["{}"] * 12, "each may use 400 and uses 12"


CLIENT = """
import sys
from pathlib import Path
from annotators.chat.endpoint import Endpoint
from annotators.ledger import BudgetSpent, Ledger, Limits
from tests.annotators.chat.questions import ask_for
path, calls, name, count = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
endpoint = Endpoint("chat", concurrency=16, timeout=2.0)
endpoint.bill(Ledger(path, Limits(calls=calls)))
print("ready", flush=True)
try:
    answers = endpoint.ask([ask_for(f"{name} {i}") for i in range(count)])
    print("answers", sum(isinstance(a, str) for a in answers))
except BudgetSpent as error:
    print("spent")
"""


def client(
    server: ScriptedServer, ledger: Path, home: Path, *, calls: int, name: str, count: int
) -> subprocess.Popen[str]:
    """A process of 16 threads that asks `count` questions of its own within the ledger's limit."""
    told = {
        "MASKMIX_CHAT_BASE_URL": server.base_url, "MASKMIX_CHAT_API_KEY": KEY,
        "MASKMIX_CHAT_MODEL": "tiny", "MASKMIX_HOME": str(home),
    }  # fmt: skip
    command = [sys.executable, "-c", CLIENT, str(ledger), str(calls), name, str(count)]
    return subprocess.Popen(
        command, cwd=ROOT, env=os.environ | told, stdout=subprocess.PIPE, text=True
    )


@pytest.mark.slow
@pytest.mark.parametrize("script", [late(0.05, then=good), first(1, Status(code=429), then=good)])
def test_a_budget_of_seven_is_seven_calls_for_two_processes_of_sixteen_threads(
    tmp_path: Path, script
):
    with ScriptedServer(script) as server:
        running = [
            client(server, tmp_path / "l.jsonl", tmp_path / "h", calls=7, name=name, count=40)
            for name in ("left", "right")
        ]
        said = [process.communicate(timeout=120)[0] for process in running]
        assert len(server.seen) == 7
    assert said == ["ready\nspent\n"] * 2
    assert Ledger(tmp_path / "l.jsonl", Limits()).totals()["chat"].calls == 7


@pytest.mark.slow
def test_clients_killed_in_flight_never_take_the_budget_over_its_limit(tmp_path: Path):
    ledger, home = tmp_path / "l.jsonl", tmp_path / "h"
    with ScriptedServer(late(0.15, then=good)) as server:
        for _ in range(3):
            process = client(server, ledger, home, calls=100, name="thing", count=150)
            want = len(server.seen) + 8
            until = time.monotonic() + 60
            while len(server.seen) < want and time.monotonic() < until:
                time.sleep(0.005)
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
            assert len(server.seen) <= 100
        last = client(server, ledger, home, calls=100, name="thing", count=150)
        assert last.communicate(timeout=120)[0] == "ready\nspent\n"
        assert len(server.seen) <= 100
        spent = Ledger(ledger, Limits()).totals()["chat"]
        assert spent.calls == 100, "reservations of the dead stay spent"
        kept = len([*(home / "chat").rglob("*.json")])
        assert kept == len([line for line in settled(ledger)])
        goes_on = client(server, ledger, home, calls=1000, name="thing", count=150)
        assert goes_on.communicate(timeout=120)[0] == "ready\nanswers 150\n"
        assert Ledger(ledger, Limits()).totals()["chat"].cached >= kept


def settled(ledger: Path) -> list[dict[str, object]]:
    entries = map(json.loads, ledger.read_text().splitlines())
    return [entry for entry in entries if entry["event"] == "settle"]


def scripted_process(port: int, log: Path) -> subprocess.Popen[str]:
    """A scripted server in a process of its own, listening."""
    command = [sys.executable, "-m", "tests.annotators.chat.scripted_server"]
    command += ["--port", str(port), "--script", "good", "--delay", "0.03", "--log", str(log)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("http://127.0.0.1:")
    return process


@pytest.mark.slow
def test_a_server_killed_mid_batch_and_started_again_answers_every_question_once(
    point_at: Point, tmp_path: Path
):
    port, log = free_port(), tmp_path / "seen.jsonl"
    server = scripted_process(port, log)
    killed = threading.Event()

    def outage() -> None:
        nonlocal server
        for goal in (10, 30):
            while sum(event == "answered" for event, _ in read_log(log)) < goal:
                time.sleep(0.002)
            server.kill()
            server.communicate()
            killed.set()
            time.sleep(0.3)
            server = scripted_process(port, log)

    breaking = threading.Thread(target=outage)
    breaking.start()
    try:
        point_at(f"http://127.0.0.1:{port}/v1")
        endpoint = Endpoint("chat", timeout=10.0, patience=60.0, concurrency=6)
        answers = endpoint.ask(many(80))
        breaking.join()
        assert killed.is_set()
        assert all(isinstance(answer, str) for answer in answers)
        assert len({*answers}) > 40
        asked_after_answer: list[str] = []
        done: set[str] = set()
        for event, question in read_log(log):
            if event == "answered":
                done.add(question)
            elif question in done:
                asked_after_answer.append(question)
        assert not asked_after_answer
        before = len(read_log(log))
        assert Endpoint("chat").ask(many(80)) == answers
        assert len(read_log(log)) == before, "a rerun asks nothing"
    finally:
        breaking.join()
        server.kill()
        server.communicate()
