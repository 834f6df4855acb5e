"""The request that a question becomes: what it can cost at most, and how it adapts to what a server understands."""

from collections.abc import Callable

import pytest

from annotators.chat.asker import Question
from annotators.chat.request import Dialect, make_request, most_prompt_tokens
from tests.annotators.chat.questions import ask_for, many, one, quick, texts
from tests.annotators.chat.scripted_server import ScriptedServer
from tests.annotators.chat.scripts import Action, Status, good, refusing

Point = Callable[[ScriptedServer | str], None]


def test_the_bound_of_a_prompt_is_above_one_token_a_byte_and_counts_images_by_their_sent_size():
    plain = most_prompt_tokens(ask_for("é" * 100), 1024)
    assert plain >= 200 + len("Name the target.")
    assert most_prompt_tokens(ask_for("é" * 200), 1024) == plain + 200
    with_image = most_prompt_tokens(ask_for("é" * 100, shade=1), 1024)
    assert with_image > plain
    assert most_prompt_tokens(ask_for("\ud800"), 1024) > 0, "odd text is still text"


def test_text_alone_is_sent_as_text_and_an_image_stands_before_it():
    assert make_request(ask_for("mug"), "m", str)["messages"][1]["content"] == "mug"
    content = make_request(ask_for("mug", shade=1), "m", lambda image: "URL")["messages"][1][
        "content"
    ]
    assert content == [
        {"type": "image_url", "image_url": {"url": "URL"}},
        {"type": "text", "text": "mug"},
    ]


def test_without_schema_and_system_text_the_words_go_as_they_stand_and_a_limit_is_still_known():
    plain = Question(user="Is there a dog in the image?", max_tokens=9)
    request = make_request(plain, "m", str)
    assert request["messages"] == [{"role": "user", "content": "Is there a dog in the image?"}]
    assert "response_format" not in request
    assert request["max_tokens"] == 9
    assert most_prompt_tokens(plain, 1024) >= len(plain.user)


def test_a_limit_that_is_too_large_is_not_taken_for_an_unknown_name():
    text = "max_tokens is too large: 99999"
    assert Dialect().after("max_tokens", text) is None
    assert Dialect().after(None, text) is None


def test_a_refusal_that_repeats_itself_finds_no_other_dialect():
    dialect = Dialect().after("seed", "unknown seed")
    assert dialect is not None
    assert dialect.after("seed", "unknown seed") is None
    assert Dialect().after("messages", "seed") is None, (
        "what the server names counts, not its prose"
    )


@pytest.mark.parametrize("parameter", ["response_format", "seed", "temperature"])
def test_a_parameter_that_the_server_does_not_know_is_left_out_from_then_on(
    point_at: Point, parameter: str
):
    with ScriptedServer(refusing(parameter, then=good)) as server:
        point_at(server)
        endpoint = quick()
        texts([one(endpoint)])
        assert [parameter in seen.body for seen in server.seen] == [True, False]
        texts(endpoint.ask(many(5)))
        assert len(server.seen) == 7, "it is remembered"


def test_a_server_that_knows_the_newer_name_of_the_limit_alone_is_spoken_to_so(point_at: Point):
    message = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."

    def script(seen) -> Action:
        old = "max_tokens" in seen.body
        return Status(code=400, message=message, param="max_tokens") if old else good(seen)

    with ScriptedServer(script) as server:
        point_at(server)
        texts([one(quick())])
    assert server.seen[1].body["max_completion_tokens"] == 64


def test_several_unknown_parameters_are_found_one_by_one(point_at: Point):
    with ScriptedServer(refusing("response_format", "seed", "temperature", then=good)) as server:
        point_at(server)
        texts([one(quick())])
        assert len(server.seen) == 4


def test_a_refusal_that_was_not_about_the_parameter_changes_nothing_for_others(point_at: Point):
    bad = Status(code=400, message="cannot read: seed response_format temperature")
    with ScriptedServer(lambda s: bad if "bad" in s.user else good(s)) as server:
        point_at(server)
        endpoint = quick()
        assert isinstance(one(endpoint, "bad"), Exception)
        texts([one(endpoint, "fine")])
    assert {"response_format", "seed", "temperature"} <= server.seen[-1].body.keys()
    assert len(server.seen) == 3
