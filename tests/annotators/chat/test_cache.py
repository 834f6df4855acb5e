"""Replies kept on disk: whole or absent, found by everything that decides them and by nothing else."""

import json
import threading
from pathlib import Path

import pytest

from annotators.chat.cache import Kept, ReplyCache, request_key
from annotators.chat.request import make_request
from tests.annotators.chat.questions import ask_for

KEY = "ab12" + "0" * 60
KEPT = Kept(text='{"x": "é\u202e"}', prompt_tokens=5, completion_tokens=7)


@pytest.fixture
def cache(tmp_path: Path) -> ReplyCache:
    return ReplyCache(tmp_path / "chat")


def test_what_was_put_is_got_in_folders_of_two_levels(cache: ReplyCache):
    assert cache.get(KEY) is None
    cache.put(KEY, KEPT)
    assert cache.get(KEY) == KEPT
    assert cache.path(KEY) == cache.folder / "ab" / "12" / f"{KEY}.json"
    assert [p.name for p in cache.folder.rglob("*") if p.is_file()] == [f"{KEY}.json"]


def test_it_lies_under_the_home_that_the_environment_names(chat_home: Path):
    assert ReplyCache.at_home().folder == chat_home / "chat"


def test_a_file_that_was_cut_anywhere_is_a_miss(cache: ReplyCache):
    cache.put(KEY, KEPT)
    whole = cache.path(KEY).read_bytes()
    for length in range(
        len(whole) - 2
    ):  # the last two bytes are "}\n"; without "\n" nothing is lost
        cache.path(KEY).write_bytes(whole[:length])
        assert cache.get(KEY) is None, length


def test_a_changed_reply_is_a_miss_and_is_put_right_by_the_next_put(cache: ReplyCache):
    cache.put(KEY, KEPT)
    stored = json.loads(cache.path(KEY).read_bytes())
    for name, value in {"text": "{}", "prompt_tokens": 6}.items():
        wrong = stored | {"reply": stored["reply"] | {name: value}}
        cache.path(KEY).write_text(json.dumps(wrong))
        assert cache.get(KEY) is None
    cache.put(KEY, KEPT)
    assert cache.get(KEY) == KEPT


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b'{"reply": 3, "sha256": ""}', b"\xff\0"])
def test_strange_files_are_misses(cache: ReplyCache, data: bytes):
    cache.path(KEY).parent.mkdir(parents=True)
    cache.path(KEY).write_bytes(data)
    assert cache.get(KEY) is None


def test_a_reply_under_another_name_is_a_miss(cache: ReplyCache):
    cache.put(KEY, KEPT)
    other = "ab12" + "1" * 60
    cache.path(KEY).rename(cache.path(other))
    assert cache.get(other) is None


def test_readers_beside_many_writers_always_see_a_whole_reply(cache: ReplyCache):
    cache.put(KEY, KEPT)
    kept = [Kept(text=str(n) * 5000, prompt_tokens=n, completion_tokens=n) for n in range(8)]
    writers = [
        threading.Thread(target=lambda k=k: [cache.put(KEY, k) for _ in range(20)]) for k in kept
    ]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert cache.get(KEY) in (KEPT, *kept)
    assert cache.get(KEY) in kept
    assert len([*cache.folder.rglob("*.tmp")]) == 0


def test_whatever_decides_a_reply_is_in_its_name():
    base = ask_for("the red mug")
    others = [
        ask_for("the blue mug"),
        ask_for("the red mug", system="Be brief."),
        ask_for("the red mug", max_tokens=9),
        ask_for("the red mug", shade=4),
        ask_for("the red mug", shade=5),
        ask_for("the red mug", schema={"type": "string"}),
    ]
    keys = [request_key(make_request(q, "m", lambda i: str(i.tolist()))) for q in (base, *others)]
    keys.append(request_key(make_request(base, "other model", str)))
    assert len({*keys}) == len(keys)
    assert keys[0] == request_key(make_request(ask_for("the red mug"), "m", str))
