"""The llava source: conversations as published, and entries that have nothing to ask about a picture."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.sources import llava
from tests.pipeline.sources.files_for_tests import load_all, reasons, save_image, the_sample


def talk(*values: Any, image: Any = "coco/1.jpg", **more: Any) -> dict[str, Any]:
    roles = ("human", "gpt")
    said = [{"from": roles[n % 2], "value": value} for n, value in enumerate(values)]
    return {"id": "000000033471", "image": image, "conversations": said, **more}


TALK = talk(
    "<image>\nWhat colour is the bus?", "White and red.", "Which side?\n<image>", "The left."
)


def source(folder: Path, *entries: Any, raw: str = "", **options: Any) -> llava.Llava:
    save_image(folder / "images" / "coco" / "1.jpg")
    (folder / "talks.json").write_text(raw or json.dumps(entries), encoding="utf-8")
    return llava.make(llava.Config(path=folder / "talks.json", **options))


def test_every_human_turn_is_an_instruction_without_image_tokens(tmp_path: Path):
    got = source(tmp_path, TALK)
    assert reasons(got) == ["", ""]
    one, two = the_sample(got), the_sample(got, 1)
    assert (one.id, two.id) == ("talks-0000000-0", "talks-0000000-1")
    assert (one.instructions, two.instructions) == (("What colour is the bus?",), ("Which side?",))
    assert dict(one.extra) == {
        "conversation": "000000033471",
        "turn": 0,
        "answer": "White and red.",
    }
    assert dict(two.extra)["answer"] == "The left."
    assert (one.gold, one.source.key, one.style) == (None, "coco/1.jpg", "conversation")


def test_the_first_turn_alone_may_be_asked_for(tmp_path: Path):
    got = source(tmp_path, TALK, TALK, turns="first")
    assert [item.id for item in load_all(got) if not hasattr(item, "reason")] == [
        "talks-0000000-0",
        "talks-0000001-0",
    ]


def test_an_id_that_stands_twice_in_the_file_is_no_duplicate(tmp_path: Path):
    assert reasons(source(tmp_path, TALK, TALK)) == [""] * 4


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("text", "entry-key-type"),
        ({"image": "coco/1.jpg"}, "entry-key-type"),
        (talk("a", conversations="a"), "entry-key-type"),
        (talk("a", conversations=["a"]), "entry-key-type"),
        (talk("a", image=None), "no-image"),
        (talk("a", image=[]), "no-image"),
        (talk("a", image={"x": 1}), "entry-key-type"),
        (talk("a", image=["coco/1.jpg", "b"]), "image-several"),
        (talk(), "no-turn"),
        (talk("a", conversations=[{"from": "gpt", "value": "b"}]), "no-turn"),
        (talk("<image>"), "instruction-empty"),
        (talk(7), "instruction-not-text"),
        (talk("a" * 3000), "instruction-too-long"),
        (talk("a", image="coco/2.jpg"), "image-missing"),
        (talk("a", image="../secret.jpg"), "image-outside"),
        (talk("a", image="/etc/passwd"), "image-outside"),
    ],
)
def test_a_bad_entry_is_a_reject_and_its_neighbours_are_not(tmp_path: Path, bad: Any, reason: str):
    got = source(tmp_path, talk("a"), bad, talk("b"))
    assert reasons(got) == ["", reason, ""]


def test_a_single_image_in_a_list_and_a_turn_without_answer_are_fine(tmp_path: Path):
    got = source(tmp_path, talk("a", image=["coco/1.jpg"]), talk("a", 7), talk("a", "b", "c"))
    assert [dict(the_sample(got, n).extra)["answer"] for n in range(4)] == ["", "", "b", ""]


def test_json_lines_are_read_as_a_list_is(tmp_path: Path):
    raw = json.dumps(TALK) + "\n\n" + json.dumps(talk("a")) + "\n"
    assert reasons(source(tmp_path, raw=raw)) == ["", "", ""]


@pytest.mark.parametrize(
    "raw", ["{", "[{}", "[{}] x", "3", '"a"', "[" * 100_000, "[{}, nul]", '{"a": 1} x']
)
def test_a_file_that_is_no_list_of_entries_is_an_error(tmp_path: Path, raw: str):
    with pytest.raises(ValueError, match="is no JSON list of conversations"):
        source(tmp_path, raw=raw)


def test_what_is_missing_is_an_error(tmp_path: Path):
    with pytest.raises(ValueError, match="holds no conversation"):
        source(tmp_path, raw="[]")
    with pytest.raises(ValueError, match=r"set source\.images"):
        source(tmp_path, TALK, images=tmp_path / "none")
    with pytest.raises(ValueError, match="does not exist"):
        llava.make(llava.Config(path=tmp_path / "none.json"))
