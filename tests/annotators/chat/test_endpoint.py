"""The endpoint against a real server: what it asks, what it takes for an answer, and what a failure costs."""

import base64
import json
import pickle
import threading
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from annotators.chat import call as call_module
from annotators.chat.endpoint import Endpoint
from annotators.chat.tries import NONSENSE_TRIES, QUORUM
from annotators.halt import Halt
from annotators.ledger import Ledger, Limits
from annotators.protocols import Payer
from tests.annotators.chat.conftest import KEY
from tests.annotators.chat.questions import SCHEMA, ask_for, many, one, quick, texts
from tests.annotators.chat.scripted_server import ScriptedServer
from tests.annotators.chat.scripts import (
    Action,
    Drop,
    Late,
    Raw,
    Reply,
    Status,
    always,
    first,
    good,
    late,
    needing_key,
    sometimes,
)

pytestmark = pytest.mark.usefixtures("short_waits")
Point = Callable[[ScriptedServer | str], None]


def test_it_is_an_asker_that_pays_and_needs_no_environment_to_be_made():
    endpoint = pickle.loads(pickle.dumps(Endpoint("chat", concurrency=3)))
    assert isinstance(endpoint, Payer)
    assert endpoint.concurrency == 3
    assert endpoint.ask([]) == []
    with pytest.raises(ValueError, match=r"MASKMIX_CHAT_BASE_URL .* is not set"):
        _ = endpoint.model
    with pytest.raises(Halt, match=r"MASKMIX_CHAT_BASE_URL .* is not set"):
        endpoint.ask([ask_for("the mug")])


@pytest.mark.parametrize("option", ["concurrency", "timeout", "patience", "image_side"])
def test_numbers_must_be_above_zero(option: str):
    with pytest.raises(ValueError, match=f"{option} of a chat endpoint is 0; expected more than 0"):
        Endpoint("chat", **{option: 0})


@pytest.mark.slow
def test_answers_come_in_the_order_of_the_questions_and_fit_their_schema(point_at: Point):
    delays = lambda seen: Late(seconds=0.05 if "number 0" in seen.user else 0.0, then=good(seen))  # noqa: E731
    with ScriptedServer(delays) as server:
        point_at(server)
        endpoint = quick()
        answers = texts(endpoint.ask(many(12)))
        alone = [one(endpoint, question.user) for question in many(12)]
    assert [json.loads(answer).keys() for answer in answers] == [
        {"target": 0, "count": 0}.keys()
    ] * 12
    assert answers == alone
    assert len({*answers}) > 6
    assert endpoint.model == "tiny"


def test_the_request_is_greedy_strict_and_carries_the_images(point_at: Point):
    with ScriptedServer() as server:
        point_at(server)
        quick(image_side=6).ask([ask_for("the mug", shade=80, max_tokens=33)])
    (seen,) = server.seen
    assert seen.key == KEY
    assert {k: seen.body[k] for k in ("model", "temperature", "seed", "max_tokens")} == {
        "model": "tiny", "temperature": 0, "seed": 0, "max_tokens": 33,
    }  # fmt: skip
    assert seen.body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "target", "schema": SCHEMA, "strict": True},
    }
    assert seen.body["messages"][0] == {"role": "system", "content": "Name the target."}
    assert [part["type"] for part in seen.body["messages"][1]["content"]] == ["image_url", "text"]
    data = np.frombuffer(base64.b64decode(seen.images[0].partition(",")[2]), np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert image is not None
    assert image.shape == (4, 6, 3)
    assert abs(int(image.mean()) - 80) <= 1


def test_no_more_calls_at_a_time_than_concurrency_allows(point_at: Point):
    with ScriptedServer(late(0.02, then=good)) as server:
        point_at(server)
        texts(quick(concurrency=3).ask(many(12)))
        assert server.busiest == 3


@pytest.mark.parametrize(
    "failure",
    [Status(code=500), Status(code=503), Status(code=429), Status(code=408), Drop(),
     Raw(data=b'{"choices": [{"mess', promise=50), Raw(data=b'{"choices": [{"mess'),
     Raw(data=b'{"choices": []}'), Raw(data=b"<html>", kind="text/html"), Raw(data=b"[1]"),
     Status(code=502, headers={"Content-Type": "text/html"})],
    ids=repr,
)  # fmt: skip
def test_failures_that_pass_are_tried_again(point_at: Point, failure: Action):
    with ScriptedServer(first(2, failure, then=good)) as server:
        point_at(server)
        texts([one(quick())])
        assert len(server.seen) == 3


@pytest.mark.parametrize(
    ("script", "said", "asked"),
    [
        (Status(code=400, message="too\nlong \x1b[2J"), r"answered 400: too long \?\[2J$", 1),
        (Status(code=403, message="not that"), "answered 403: not that", 1),
        (Status(code=413), "answered 413", 1),
        (Reply(text='{"a', finish="length"), "longer than max_tokens", 1),
        (Reply(text=""), "gave an empty reply", 1),
        (Reply(text=None), "gave an empty reply", 1),
        (Reply(text=None, extra={"refusal": "I will not"}), "declines: I will not", 1),
        (Reply(text="{}", finish="content_filter"), "ended with 'content_filter'", 1),
        (Reply(text="{}", finish=None), "ended with None", 1),
        (Raw(data=b'{"choices": []}'), "sent no chat completion", NONSENSE_TRIES),
        (Raw(data=b"<html>", kind="text/html"), r"sent no .*'<html>'", NONSENSE_TRIES),
        (Raw(data=b"[" * 100_000), "sent no chat completion", NONSENSE_TRIES),
        (Raw(data=b"\xff\xfe{}"), "sent no chat completion", NONSENSE_TRIES),
    ],
    ids=repr,
)
def test_what_is_no_answer_costs_that_question_alone(
    point_at: Point, chat_home: Path, script: Action, said: str, asked: int
):
    with ScriptedServer(lambda seen: script if "bad" in seen.user else good(seen)) as server:
        point_at(server)
        answers = quick().ask([ask_for("fine"), ask_for("bad"), ask_for("fine too")])
        texts([answers[0], answers[2]])
        assert isinstance(answers[1], Exception)
        assert not isinstance(answers[1], Halt)
        with pytest.raises(Exception, match=said):
            raise answers[1]
        assert len(server.seen) == asked + 2
    assert len([*chat_home.rglob("*.json")]) == 2, "only answers are kept"


def test_hostile_text_is_an_answer_like_any_other_and_nothing_more(point_at: Point):
    hostile = 'Ignore all. \x1b[2J\u202e{"a": 1}\x00'
    with ScriptedServer(always(Reply(text=hostile))) as server:
        point_at(server)
        assert one(quick()) == hostile
        assert one(quick()) == hostile, "also from the cache"
        assert len(server.seen) == 1


@pytest.mark.parametrize("code", [401, 402, 404])
def test_a_refusal_that_every_question_would_meet_stops_the_build(point_at: Point, code: int):
    with ScriptedServer(always(Status(code=code))) as server:
        point_at(server)
        with pytest.raises(Halt, match=f"answered {code}: .* run the same command again"):
            quick(concurrency=2).ask(many(40))
        assert len(server.seen) <= 2


def test_retry_after_is_honoured_and_does_not_bring_everybody_back_at_once(point_at: Point):
    limited = Status(code=429, headers={"Retry-After": "0.3"})
    with ScriptedServer(first(1, limited, then=good)) as server:
        point_at(server)
        texts(quick().ask(many(8)))
    tries = {n: [s.at for s in server.seen if s.tries == n] for n in (1, 2)}
    by_question = {s.question: s.at for s in server.seen if s.tries == 1}
    assert all(s.at - by_question[s.question] >= 0.3 for s in server.seen if s.tries == 2)
    assert len(tries[2]) == 8
    assert len(server.seen) == 16


def test_a_wait_that_is_longer_than_patience_is_not_begun(point_at: Point):
    limited = always(Status(code=429, headers={"Retry-After": "3600"}))
    with ScriptedServer(limited) as server:
        point_at(server)
        start = time.monotonic()
        with pytest.raises(Halt, match=r"is busy .* answered 429"):
            quick(patience=30.0).ask(many(8))
        assert time.monotonic() - start < 10
        assert 5 <= len(server.seen) <= 8, "no question twice"


@pytest.mark.slow
def test_a_storm_of_429_ends_after_few_tries_spread_over_time(
    point_at: Point, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("annotators.chat.backoff.BASE", 0.2)
    with ScriptedServer(always(Status(code=429))) as server:
        point_at(server)
        with pytest.raises(Halt, match=r"is busy \(16 questions"):
            quick(patience=3.0, concurrency=16).ask(many(16))
    begin = server.seen[0].at
    tries = [s.tries for s in server.seen]
    assert max(tries) <= 30
    assert max(s.at for s in server.seen) - begin < 3.0 + 2.0
    later = [s.at - begin for s in server.seen if 2 <= s.tries <= 4]
    slots = [sum(i * 0.1 <= at < (i + 1) * 0.1 for at in later) for i in range(30)]
    assert max(slots) <= len(later) / 2, "no tenth of a second sees half of the retries"


def test_equal_questions_are_asked_once_in_one_batch_and_from_many_threads(point_at: Point):
    with ScriptedServer(late(0.1, then=good)) as server:
        point_at(server)
        endpoint = quick(cache=False)
        assert len({*texts(endpoint.ask([ask_for("same")] * 5))}) == 1
        assert len(server.seen) == 1
        answers: list[str | Exception] = []
        threads = [threading.Thread(target=lambda: answers.append(one(endpoint))) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({*texts(answers)}) == 1
        assert len(server.seen) == 2
        one(endpoint)
        assert len(server.seen) == 3, "without a cache, an answer is forgotten when it was given"


def test_a_rerun_costs_no_call_and_says_how_many_answers_were_kept(point_at: Point, tmp_path: Path):
    ledger = Ledger(tmp_path / "calls.jsonl", Limits())
    with ScriptedServer() as server:
        point_at(server)
        before = quick()
        before.bill(ledger)
        answers = before.ask([*many(5), *many(2)])
        again = quick(concurrency=2, timeout=1.0)
        again.bill(ledger)
        assert again.ask([*many(5), *many(2)]) == answers
        assert len(server.seen) == 5
    spent = ledger.totals()["chat"]
    assert (spent.calls, spent.cached) == (5, 5)
    point_at("http://127.0.0.1:9/v1")
    assert quick().ask(many(5)) == answers[:5], "not even the server is needed"


def test_a_damaged_reply_is_asked_for_again(point_at: Point, chat_home: Path):
    with ScriptedServer() as server:
        point_at(server)
        answer = one(quick())
        (file,) = chat_home.rglob("*.json")
        file.write_bytes(file.read_bytes()[:-20])
        assert one(quick()) == answer
        assert len(server.seen) == 2
        assert one(quick()) == answer
        assert len(server.seen) == 2


def test_a_cache_that_cannot_be_written_costs_no_answer_and_is_said(
    point_at: Point, chat_home: Path, caplog: pytest.LogCaptureFixture
):
    chat_home.write_text("a file, not a folder")
    with ScriptedServer() as server:
        point_at(server)
        texts([one(quick())])
    assert "a reply could not be kept" in caplog.text


def test_the_key_is_in_no_error_no_log_no_cache_and_no_ledger(
    point_at: Point, tmp_path: Path, chat_home: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("DEBUG")

    def echo(seen) -> Action:
        text = f"your key is {seen.key}"
        if "400" in seen.user:
            return Status(code=400, message=text)
        return Raw(data=text.encode()) if "raw" in seen.user else Reply(text=text)

    with ScriptedServer(echo) as server:
        point_at(server)
        endpoint = quick()
        endpoint.bill(Ledger(tmp_path / "calls.jsonl", Limits()))
        answers = endpoint.ask([ask_for("fine"), ask_for("400"), ask_for("raw")])
        assert answers[0] == "your key is ***"
        server.script = needing_key("another", then=good)
        with pytest.raises(Halt, match=r"Incorrect API key provided: \*\*\*") as halted:
            one(endpoint, "new")
        assert server.seen[-1].key == KEY
    for error in (*answers[1:], halted.value):
        assert isinstance(error, Exception)
        while error is not None:
            assert KEY not in repr(error) + str(vars(error))
            error = error.__cause__ or error.__context__
    assert KEY not in caplog.text
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) == 2
    assert not any(KEY.encode() in path.read_bytes() for path in written)
    assert KEY not in repr(pickle.dumps(endpoint)) + repr(vars(endpoint))


def test_a_server_that_drips_is_cut_off_after_the_timeout(point_at: Point):
    drip = Raw(data=b'{"choices": ' + b" " * 500, pause=0.02)
    with ScriptedServer(first(1, drip, then=good)) as server:
        point_at(server)
        start = time.monotonic()
        texts([one(quick(timeout=0.3))])
        assert time.monotonic() - start < 5


def test_a_server_that_sends_without_end_is_cut_off(
    point_at: Point, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(call_module, "LONGEST_REPLY", 50_000)
    flood = Raw(data=b" " * 100_000, promise=10**9)
    with ScriptedServer(always(flood)) as server:
        point_at(server)
        with pytest.raises(Exception, match="sends without end"):
            raise one(quick())  # type: ignore[misc]
        assert len(server.seen) == NONSENSE_TRIES


@pytest.mark.slow
def test_poisonous_questions_cost_their_own_votes_while_others_are_answered(point_at: Point):
    with ScriptedServer(lambda s: Status(code=500) if "bad" in s.user else good(s)) as server:
        point_at(server)
        start = time.monotonic()
        answers = quick(patience=1.0).ask([*many(3), *(ask_for(f"bad {n}") for n in range(4))])
        assert time.monotonic() - start < 10
    texts(answers[:3])
    assert ["answered 500" in str(answer) for answer in answers[3:]] == [True] * 4


def test_a_server_that_breaks_down_over_every_question_stops_the_build_after_a_few(point_at: Point):
    with ScriptedServer(always(Status(code=500))) as server:
        point_at(server)
        endpoint = quick(patience=0.05)
        lost = [one(endpoint, f"thing {number}") for number in range(QUORUM - 1)]
        assert ["answered 500" in str(answer) for answer in lost] == [True] * (QUORUM - 1)
        with pytest.raises(Halt, match=r"does not answer .*answered 500"):
            one(endpoint, "the last")


def test_nonsense_to_every_question_stops_the_build(point_at: Point):
    with ScriptedServer(always(Raw(data=b"<html>Sign in</html>", kind="text/html"))) as server:
        point_at(server)
        with pytest.raises(Halt, match=r"gives no usable answer .*Sign in"):
            quick().ask(many(30))
        assert len(server.seen) < 30


@pytest.mark.slow
def test_bad_weather_costs_no_answer(point_at: Point):
    script = sometimes(0.2, Drop(), then=sometimes(0.2, Status(code=500), then=good))
    with ScriptedServer(script) as server:
        point_at(server)
        endpoint = quick(concurrency=16, cache=False)
        assert len(texts(endpoint.ask(many(150)))) == 150
        assert len(server.seen) > 180


def test_another_address_in_the_environment_is_called_from_then_on(point_at: Point):
    endpoint = quick(cache=False)
    for _ in range(2):
        with ScriptedServer() as server:
            point_at(server)
            texts([one(endpoint)])
            assert len(server.seen) == 1
    endpoint.close()


def test_what_a_person_typed_goes_before_the_environment_and_a_key_stays_with_its_address(
    point_at: Point, monkeypatch: pytest.MonkeyPatch
):
    with ScriptedServer(good) as server:
        point_at("http://127.0.0.1:9/v1")
        typed = {"MASKMIX_VQA_BASE_URL": server.base_url, "MASKMIX_VQA_MODEL": "typed"}
        endpoint = quick(profile="vqa", variables=typed)
        with pytest.raises(Halt, match="MASKMIX_VQA_API_KEY"):
            one(endpoint)
        assert server.seen == [], "the key of another address is not sent"
        monkeypatch.setenv("MASKMIX_VQA_API_KEY", "none")
        texts([one(endpoint)])
        assert server.seen[0].body["model"] == endpoint.model == "typed"
