"""The scripted server keeps its promises, or the tests that lean on it prove nothing."""

import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable

import pytest

from annotators.chat.asker import Question
from annotators.chat.prompts import BOX, BOX_THOUSAND, ENRICH, SIMPLIFY, VERIFY, Prompt
from annotators.chat.replies import read_boxes, read_instructions, read_target, read_verdict
from tests.annotators.chat.questions import many, one, quick, texts
from tests.annotators.chat.scripted_server import MODEL, ScriptedServer
from tests.annotators.chat.scripts import SCRIPTS, good, late

Point = Callable[[ScriptedServer | str], None]


@pytest.mark.parametrize(
    ("prompt", "read"),
    [
        (SIMPLIFY, read_target),
        (ENRICH, lambda reply: read_instructions(reply, most=3)),
        (BOX, lambda reply: read_boxes(reply, most=3)),
        (BOX_THOUSAND, lambda reply: read_boxes(reply, most=3, grid=1000)),
        (VERIFY, read_verdict),
    ],
    ids=lambda value: getattr(value, "version", ""),
)
def test_good_answers_every_prompt_of_ours_so_that_its_parser_takes_it(
    point_at: Point, prompt: Prompt, read: Callable[[str], object]
):
    questions = [
        Question(
            system=prompt.system,
            user=prompt.fill({"instructions": [f"find thing {n}"], "wanted": 3}),
            schema_name=prompt.name,
            schema=prompt.schema,
        )
        for n in range(40)
    ]
    with ScriptedServer() as server:
        point_at(server)
        replies = texts(quick().ask(questions))
    read_ones = {str(read(reply)) for reply in replies}
    assert len(read_ones) > 10, "different questions, different answers"


def test_the_same_question_has_the_same_good_answer_on_every_server(point_at: Point):
    answers = []
    for _ in range(2):
        with ScriptedServer(late(0.01, then=good)) as server:
            point_at(server)
            answers.append(quick(cache=False).ask(many(5)))
    assert answers[0] == answers[1]


def test_it_names_its_model_and_knows_no_other_page():
    with ScriptedServer() as server:
        with urllib.request.urlopen(f"{server.base_url}/models", timeout=5) as reply:
            assert json.load(reply)["data"][0]["id"] == MODEL
        with pytest.raises(urllib.error.HTTPError, match="404") as caught:
            urllib.request.urlopen(f"{server.base_url}/files", timeout=5)
        caught.value.close()


def test_it_stops_and_starts_again_on_the_same_port_and_remembers(point_at: Point):
    with ScriptedServer() as server:
        point_at(server)
        port = server.port
        one(quick(cache=False))
        server.stop()
        with pytest.raises(OSError, match="refused"):
            urllib.request.urlopen(f"{server.base_url}/models", timeout=5)
        server.start()
        assert server.port == port
        one(quick(cache=False))
        assert [seen.tries for seen in server.seen] == [1, 2]
        assert server.answered() == server.seen


def test_every_script_of_the_command_line_is_described_by_its_name():
    assert {"good", "stormy", "limited", "broken", "hostile", "silent", "plain"} <= SCRIPTS.keys()
    assert all(re.fullmatch(r"[a-z]+", name) for name in SCRIPTS)


@pytest.mark.usefixtures("short_waits")
def test_after_a_storm_every_question_has_its_answer(point_at: Point):
    with ScriptedServer(SCRIPTS["stormy"]) as server:
        point_at(server)
        texts(quick().ask(many(20)))
        assert len(server.seen) == 40, "each fails once in some way, and is answered then"
