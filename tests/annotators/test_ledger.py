"""The ledger: limits that hold whoever asks at the same time, and a file that survives every kill."""

import json
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotators.halt import Halt
from annotators.ledger import BudgetSpent, Ledger, Limits, Spent, Stopped
from tests.conftest import ROOT


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out" / "calls.jsonl"


def reserve(ledger: Ledger, prompt: int = 10, completion: int = 5, **more: Any) -> int:
    return ledger.reserve(
        "chat", model="tiny", prompt_tokens=prompt, completion_tokens=completion, **more
    )


def settle(ledger: Ledger, call: int, prompt: int = 3, completion: int = 2) -> None:
    ledger.settle(call, prompt_tokens=prompt, completion_tokens=completion, seconds=0.25)


def test_a_call_counts_in_full_when_reserved_and_as_used_when_settled(path: Path):
    ledger = Ledger(path, Limits(prompt_price=1.0, completion_price=10.0))
    assert ledger.totals() == {}
    call = reserve(ledger)
    assert ledger.totals()["chat"] == Spent(
        calls=1, prompt_tokens=10, completion_tokens=5, money=pytest.approx(60e-6)
    )
    settle(ledger, call)
    assert ledger.totals()["chat"] == Spent(
        calls=1, prompt_tokens=3, completion_tokens=2, seconds=0.25, money=pytest.approx(23e-6)
    )


def test_a_released_call_costs_nothing(path: Path):
    ledger = Ledger(path, Limits(calls=1))
    ledger.release(reserve(ledger))
    assert reserve(ledger) == 2
    assert ledger.totals()["chat"].calls == 1


def test_totals_are_per_expert_and_the_same_for_whoever_opens_the_file(path: Path):
    ledger = Ledger(path, Limits())
    settle(ledger, reserve(ledger))
    ledger.reserve("vlm", model="sees", prompt_tokens=7, completion_tokens=1)
    ledger.count_cached("chat", model="tiny", answers=4)
    ledger.count_cached("new", model="tiny", answers=2)
    totals = Ledger(path, Limits()).totals()
    assert totals == ledger.totals()
    assert list(totals) == ["chat", "new", "vlm"]
    assert (totals["chat"].calls, totals["chat"].cached) == (1, 4)
    assert totals["new"] == Spent(cached=2)
    assert totals["vlm"].prompt_tokens == 7


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (Limits(calls=2), r"the budget of 2 calls is spent \(2 calls, 20 \+ 10 tokens"),
        (Limits(tokens=44), r"the budget of 44 tokens is spent .* the next call may use 10 \+ 5"),
        (Limits(money=39e-6, prompt_price=1, completion_price=1), r"the budget of 3.9e-05 money"),
    ],
)
def test_the_call_that_could_pass_a_limit_is_refused_with_what_to_do(
    path: Path, limits: Limits, said: str
):
    ledger = Ledger(path, limits)
    reserve(ledger), reserve(ledger)
    with pytest.raises(BudgetSpent, match=said) as caught:
        reserve(ledger)
    limit = next(n for n in ("calls", "tokens", "money") if getattr(limits, n) is not None)
    assert f"--set budget.{limit}=N and run the same command again" in str(caught.value)
    assert isinstance(caught.value, Halt)
    assert ledger.totals()["chat"].calls == 2


def test_a_raised_limit_goes_on_with_the_same_file(path: Path):
    reserve(Ledger(path, Limits(calls=1)))
    with pytest.raises(BudgetSpent):
        reserve(Ledger(path, Limits(calls=1)))
    assert reserve(Ledger(path, Limits(calls=2))) == 2


def test_a_budget_of_nothing_allows_nothing(path: Path):
    for limits in (Limits(calls=0), Limits(tokens=0), Limits(money=0.0, prompt_price=1.0)):
        with pytest.raises(BudgetSpent):
            reserve(Ledger(path, limits))


def test_an_open_reservation_that_may_shrink_is_waited_for(path: Path):
    ledger = Ledger(path, Limits(tokens=20))
    first = reserve(ledger)
    timer = threading.Timer(0.1, settle, [Ledger(path, Limits()), first])
    timer.start()
    assert reserve(ledger, wait=30.0) == 2
    timer.join()


def test_an_open_reservation_of_the_dead_is_waited_for_once_and_stays_spent(path: Path):
    reserve(Ledger(path, Limits()))
    ledger = Ledger(path, Limits(tokens=20))
    with pytest.raises(BudgetSpent):
        reserve(ledger, wait=0.2)
    start = time.monotonic()
    with pytest.raises(BudgetSpent):
        reserve(ledger, wait=30.0)
    assert time.monotonic() - start < 10


def test_no_waiting_where_settled_calls_alone_reach_the_limit(path: Path):
    ledger = Ledger(path, Limits(calls=2))
    settle(ledger, reserve(ledger))
    settle(ledger, reserve(ledger))
    start = time.monotonic()
    with pytest.raises(BudgetSpent):
        reserve(ledger, wait=30.0)
    assert time.monotonic() - start < 10


def test_waiting_ends_when_the_build_is_stopped(path: Path):
    ledger, stop = Ledger(path, Limits(calls=1)), threading.Event()
    reserve(ledger)
    threading.Timer(0.05, stop.set).start()
    with pytest.raises(Stopped):
        reserve(ledger, wait=30.0, stop=stop)


def together(threads: int, act: Callable[[], None]) -> None:
    running = [threading.Thread(target=act) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


@pytest.mark.parametrize("shared", [True, False], ids=["one ledger", "a ledger each"])
def test_many_threads_never_pass_the_limit(path: Path, shared: bool):
    one, got = Ledger(path, Limits(calls=7)), list[int]()

    def act() -> None:
        ledger = one if shared else Ledger(path, Limits(calls=7))
        try:
            while True:
                got.append(reserve(ledger))
        except BudgetSpent:
            return

    together(16, act)
    assert sorted(got) == [1, 2, 3, 4, 5, 6, 7]


CHURN = """
import os, sys, threading, signal
from pathlib import Path
from annotators.ledger import Ledger, Limits, BudgetSpent
ledger = Ledger(Path(sys.argv[1]), Limits(calls=int(sys.argv[2])))
def act():
    try:
        while True:
            call = ledger.reserve("chat", model="tiny", prompt_tokens=10, completion_tokens=5)
            os.write(1, b"%d\\n" % call)  # one write: threads would mix print's two
            if call % 3 == 0:
                ledger.release(call)
            elif call % 3 == 1:
                ledger.settle(call, prompt_tokens=1, completion_tokens=1, seconds=0.0)
    except BudgetSpent:
        pass
threads = [threading.Thread(target=act) for _ in range(8)]
for t in threads: t.start()
for t in threads: t.join()
"""


def churn(path: Path, calls: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHURN, str(path), str(calls)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_processes_with_many_threads_each_never_pass_the_limit(path: Path):
    processes = [churn(path, 60) for _ in range(3)]
    made = [int(line) for p in processes for line in p.communicate(timeout=120)[0].split()]
    kept = [call for call in made if call % 3]
    assert sorted(made) == [*range(1, len(made) + 1)], "every call has a number of its own"
    assert len(kept) == 60
    assert Ledger(path, Limits()).totals()["chat"].calls == 60


@pytest.mark.slow
def test_processes_killed_at_any_moment_leave_a_ledger_that_knows_every_call(path: Path):
    made: list[int] = []
    for number in range(6):
        process = churn(path, 100_000)
        assert process.stdout is not None
        made.append(int(process.stdout.readline()))
        time.sleep(0.02 * number)
        process.kill()
        made += [int(line) for line in process.communicate()[0].splitlines(keepends=True)[:-1]]
    ledger = Ledger(path, Limits())
    reserved = {
        e["call"] for e in map(json.loads, path.read_text().splitlines()) if e["event"] == "reserve"
    }
    assert {*made} <= reserved, "a call that was allowed is on disk"
    assert reserve(ledger) == len(reserved) + 1


@pytest.mark.slow
def test_a_last_line_cut_anywhere_is_cut_away_and_the_rest_stands(path: Path):
    ledger = Ledger(path, Limits())
    settle(ledger, reserve(ledger))
    before = path.read_bytes()
    reserve(ledger)
    whole = path.read_bytes()
    for length in range(len(before), len(whole)):
        path.write_bytes(whole[:length])
        again = Ledger(path, Limits(calls=2))
        assert again.totals()["chat"].calls == 1
        assert path.read_bytes() == whole[:length], "looking changes nothing"
        assert reserve(again) == 2
        assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "line",
    ["{}", "garbage", "[1]", "null", '{"event":"refund","call":1}', '{"event":"settle","call":9}',
     '{"event":"release","call":9}', '{"event":"cached","expert":"a","answers":null}',
     '{"event":"reserve","call":2}', "\x00" * 20],
)  # fmt: skip
def test_a_damaged_line_stops_the_build_and_is_named(path: Path, line: str):
    reserve(Ledger(path, Limits()))
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(Halt, match=r"calls\.jsonl, line 2 is damaged .* put back a whole copy"):
        reserve(Ledger(path, Limits()))


def test_a_ledger_that_was_cut_while_in_use_stops_the_build(path: Path):
    ledger = Ledger(path, Limits())
    reserve(ledger), reserve(ledger)
    path.write_bytes(b"")
    with pytest.raises(Halt, match="was cut or replaced"):
        reserve(ledger)


def test_a_folder_that_cannot_be_made_stops_the_build(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Halt, match="cannot be opened"):
        reserve(Ledger(tmp_path / "file" / "calls.jsonl", Limits()))


FULL = """
import resource, signal, sys
from pathlib import Path
from annotators.ledger import Ledger, Limits
from annotators.halt import Halt
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
ledger = Ledger(Path(sys.argv[1]), Limits())
try:
    while True:
        ledger.reserve("chat", model="tiny", prompt_tokens=1, completion_tokens=1)
except Halt as error:
    print(error)
"""


def test_a_full_disk_stops_the_build_and_leaves_whole_lines(path: Path):
    command = [sys.executable, "-c", FULL, str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "cannot be kept" in done.stdout
    data = path.read_bytes()
    assert data.endswith(b"}\n")
    assert len(data) <= 500
    assert reserve(Ledger(path, Limits())) == data.count(b"\n") + 1


def test_a_pickled_ledger_is_the_same_file_and_limits(path: Path):
    ledger = Ledger(path, Limits(calls=2))
    reserve(ledger)
    copy = pickle.loads(pickle.dumps(ledger))
    assert (copy.path, copy.limits) == (ledger.path, ledger.limits)
    assert reserve(copy) == 2
    with pytest.raises(BudgetSpent):
        reserve(ledger)


def test_entries_hold_names_and_numbers_and_nothing_else(path: Path):
    ledger = Ledger(path, Limits())
    settle(ledger, reserve(ledger))
    ledger.release(reserve(ledger))
    ledger.count_cached("chat", model="tiny", answers=1)
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    assert [entry["event"] for entry in entries] == [
        "reserve",
        "settle",
        "reserve",
        "release",
        "cached",
    ]
    assert entries[0] == {
        "event": "reserve", "call": 1, "expert": "chat", "model": "tiny",
        "prompt_tokens": 10, "completion_tokens": 5,
    }  # fmt: skip


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "settle", "release", "reopen"]), st.integers(0, 9),
        st.integers(0, 40), st.integers(0, 40),
    ),
    max_size=25,
)  # fmt: skip


@pytest.mark.slow
@given(operations=OPERATIONS)
def test_any_history_gives_the_sums_of_a_plain_list_and_keeps_the_limits(
    tmp_path_factory: pytest.TempPathFactory, operations: list[tuple[str, int, int, int]]
):
    path = tmp_path_factory.mktemp("ledger") / "calls.jsonl"
    limits = Limits(calls=6, tokens=200)
    ledger, calls, open_calls = Ledger(path, limits), dict[int, tuple[int, int]](), list[int]()
    for what, which, prompt, completion in operations:
        if what == "reopen":
            ledger = Ledger(path, limits)
        elif what == "reserve":
            tokens = sum(map(sum, calls.values())) + prompt + completion
            fits = len(calls) < 6 and tokens <= 200
            try:
                call = reserve(ledger, prompt, completion)
            except BudgetSpent:
                assert not fits
            else:
                assert fits
                calls[call] = (prompt, completion)
                open_calls.append(call)
        elif open_calls:
            call = open_calls.pop(which % len(open_calls))
            if what == "release":
                ledger.release(call)
                del calls[call]
            else:
                used = (min(prompt, calls[call][0]), min(completion, calls[call][1]))
                settle(ledger, call, *used)
                calls[call] = used
    spent = ledger.totals().get("chat", Spent())
    assert spent.calls == len(calls)
    assert spent.prompt_tokens == sum(p for p, _ in calls.values())
    assert spent.completion_tokens == sum(c for _, c in calls.values())
