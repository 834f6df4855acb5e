"""Replies of chat models: what is forgiven, what is refused, and that garbage is never taken for an answer."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from annotators.chat.json_reader import DEEPEST, LONGEST, SAID, UnreadableReply, read_object
from annotators.chat.prompts import BOX, ENRICH, SIMPLIFY, VERIFY
from annotators.chat.replies import (
    Found,
    Made,
    Target,
    read_boxes,
    read_instructions,
    read_target,
    read_verdict,
)
from annotators.protocols import Verdict
from tests.annotators.chat.garbage import BOXES, GOOD, MADE, TARGET, VERDICT, everywhere, of_text

READ = {
    "target": read_target,
    "instructions": lambda reply: read_instructions(reply, most=3),
    "boxes": lambda reply: read_boxes(reply, most=3),
    "verdict": read_verdict,
}
PROMPTS = {"target": SIMPLIFY, "instructions": ENRICH, "boxes": BOX, "verdict": VERIFY}
GARBAGE = [*everywhere(), *of_text()]


def test_good_replies_are_read():
    assert read_target(json.dumps(TARGET)) == Target(
        present=True, phrases=("the red mug",), count=1, relation="left of the bowl"
    )
    assert READ["instructions"](json.dumps(MADE)) == (
        Made(kind="question", text="What is printed on the mug?"),
    )
    assert READ["boxes"](json.dumps(BOXES)) == (Found(box=(0.1, 0.2, 0.5, 0.75), score=0.9),)
    assert read_verdict(json.dumps(VERDICT)) == Verdict(validity=0.75, exhaustivity=1.0)


@pytest.mark.parametrize(
    "dressed",
    ["```json\n{}\n```", "```\n{}```", "Sure! Here you are:\n\n{}\n\nAnything else?", "  {}  ", "[{}]", "{}\n{}",
     "<think>The user wants {{a mug}}: {{\"target\": 1}}</think>\n{}", "As {{JSON}}: {}", "\ufeff{}"],
)  # fmt: skip
@pytest.mark.parametrize("kind", GOOD)
def test_what_stands_around_the_object_is_forgiven(kind, dressed):
    text = json.dumps(GOOD[kind])
    assert READ[kind](dressed.format(text, text)) == READ[kind](text)


@pytest.mark.parametrize("kind", GOOD)
def test_commas_before_a_bracket_are_forgiven(kind):
    text = json.dumps(GOOD[kind], indent=1)
    sloppy = text.replace("\n}", ",\n}").replace("]", ", ]")
    assert sloppy != text
    assert READ[kind](sloppy) == READ[kind](text)


def test_commas_inside_text_stay():
    assert read_object('{"a": "x,}", "b": "[,]\\",}"}') == {"a": "x,}", "b": '[,]",}'}


@pytest.mark.parametrize("end", ["", " \n", "\n```"])
def test_the_last_brace_may_be_missing_where_only_one_completion_is_possible(end):
    for kind in ("target", "instructions", "boxes"):
        text = json.dumps(GOOD[kind])
        assert READ[kind](text[:-1] + end) == READ[kind](text)


def test_a_number_that_may_have_been_cut_is_refused():
    with pytest.raises(UnreadableReply, match="cut off"):
        read_verdict('{"exhaustivity": 1, "validity": 0.9')


@pytest.mark.parametrize(
    "text",
    ['{"a": [1, 2', '{"a": {"b": 1', '{"a": "x', '{"a"', '{"a":', '{"a": 1,', "{", '{"a": [1}'],
)
def test_more_than_one_thing_missing_is_refused(text):
    with pytest.raises(UnreadableReply):
        read_object(text)


@pytest.mark.parametrize(
    "text", ['{"a": [,]}', "{,}", '{"a": [1,,]}', '{"a": [1 2]}', '{"a": 1, , }']
)
def test_a_comma_that_follows_nothing_is_refused(text):
    with pytest.raises(UnreadableReply):
        read_object(text)


def test_two_answers_are_refused_and_one_said_twice_is_not():
    assert read_object('{"a": 1} {"a": 1}') == {"a": 1}
    with pytest.raises(UnreadableReply, match="two JSON objects that differ"):
        read_object('{"a": 1} {"a": 2}')


def test_the_bounds_of_the_reader_are_where_they_are_said_to_be():
    deep = "[" * (DEEPEST - 1) + "]" * (DEEPEST - 1)
    assert read_object(f'{{"a": {deep}}}')
    with pytest.raises(UnreadableReply, match="nests"):
        read_object(f'{{"a": [{deep}]}}')
    assert read_object('{"a": 1}'.ljust(LONGEST))
    with pytest.raises(UnreadableReply, match="characters"):
        read_object('{"a": 1}'.ljust(LONGEST + 1))


def test_the_corpus_of_garbage_is_large_and_of_every_kind():
    assert len(set(GARBAGE)) > 800
    assert {kind for kind, _ in GARBAGE} == set(READ)


def test_of_the_garbage_nothing_is_accepted():
    accepted = []
    for kind, reply in GARBAGE:
        try:
            accepted.append((kind, reply[:80], READ[kind](reply)))
        except UnreadableReply as error:
            said = str(error)
            assert 0 < len(said) <= SAID
            assert said.isprintable(), said
    assert accepted == []


def test_an_error_says_no_more_than_it_may_and_nothing_hidden():
    assert str(UnreadableReply("red\x1b[2J\u202emug")) == "red?[2J?mug"
    assert len(str(UnreadableReply("x" * 999))) == SAID


@pytest.mark.parametrize("kind", GOOD)
def test_a_truncated_reply_gives_the_whole_answer_or_none(kind):
    text = json.dumps(GOOD[kind])
    whole = READ[kind](text)
    for end in range(len(text)):
        try:
            assert READ[kind](text[:end]) == whole
        except UnreadableReply:
            continue


@given(reply=st.text(max_size=200))
def test_any_text_is_read_or_refused_and_nothing_else(reply):
    for read in READ.values():
        with pytest.raises(UnreadableReply):
            read(reply)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
UNIT = st.floats(-0.5, 1.5) | st.integers(-1, 2)
NEARLY = {
    "target": st.fixed_dictionaries(
        {
            "target": st.sampled_from(["present", "absent", "maybe"]),
            "phrases": st.lists(st.text(max_size=6), max_size=5) | JSON,
            "count": st.integers(-2, 3000) | JSON,
            "relation": st.text(max_size=6) | JSON,
        }
    ),
    "instructions": st.fixed_dictionaries(
        {
            "instructions": st.lists(
                st.fixed_dictionaries(
                    {"kind": st.sampled_from(["question", "command", "x"]), "text": st.text(max_size=6)}
                ),
                max_size=5,
            )
            | JSON
        }
    ),
    "boxes": st.fixed_dictionaries(
        {
            "boxes": st.lists(
                st.fixed_dictionaries({"box": st.lists(UNIT, min_size=3, max_size=5), "score": UNIT}),
                max_size=4,
            )
            | JSON
        }
    ),
    "verdict": st.fixed_dictionaries({"validity": UNIT | JSON, "exhaustivity": UNIT | JSON}),
}  # fmt: skip
"""Replies of the right shape whose values are right or nearly so."""


@given(data=st.data(), kind=st.sampled_from(sorted(READ)))
def test_what_is_accepted_follows_the_schema_and_the_bounds(data, kind):
    value = data.draw(NEARLY[kind])
    try:
        answer = READ[kind](json.dumps(value))
    except UnreadableReply:
        return
    Draft202012Validator(PROMPTS[kind].schema).validate(value)
    check(answer)


def check(answer):
    if isinstance(answer, Target):
        assert len(answer.phrases) <= 3
        assert answer.phrases or not answer.present
        assert 0 <= answer.count <= 1000
        assert all(text.isprintable() and text.strip() == text != "" for text in answer.phrases)
    elif isinstance(answer, Verdict):
        assert 0 <= answer.validity <= 1
        assert 0 <= answer.exhaustivity <= 1
    else:
        assert len(answer) <= 3
        for one in answer:
            if isinstance(one, Found):
                x1, y1, x2, y2 = one.box
                assert 0 <= x1 < x2 <= 1
                assert 0 <= y1 < y2 <= 1
                assert 0 <= one.score <= 1
            else:
                assert one.text.strip()


@given(
    box=st.tuples(*[st.floats(0, 1)] * 4).filter(lambda b: b[0] < b[2] and b[1] < b[3]),
    score=st.floats(0, 1),
)
def test_every_box_inside_the_picture_is_read_as_it_is(box, score):
    reply = json.dumps({"boxes": [{"box": box, "score": score}]})
    assert read_boxes(reply, most=1) == (Found(box=box, score=score),)


def boxes(*values, score=0.5):
    return json.dumps({"boxes": [{"box": list(values), "score": score}]})


def test_a_box_a_little_outside_is_clipped_and_one_far_outside_is_refused():
    assert read_boxes(boxes(-0.02, 0.5, 0.5, 1.02), most=1)[0].box == (0.0, 0.5, 0.5, 1.0)
    for wrong in ((-0.03, 0.5, 0.5, 1), (0, 0, 0.5, 1.03), (10, 20, 200, 300)):
        with pytest.raises(UnreadableReply, match="leaves the picture; expected 0 to 1"):
            read_boxes(boxes(*wrong), most=1)


def test_a_box_in_thousandths_needs_to_be_asked_for():
    assert read_boxes(boxes(250, 0, 500, 1000), most=1, grid=1000)[0].box == (0.25, 0.0, 0.5, 1.0)
    with pytest.raises(UnreadableReply, match="leaves the picture"):
        read_boxes(boxes(250, 0, 500, 1000), most=1)


@pytest.mark.parametrize(
    "wrong", [(0.5, 0, 0.5, 1), (0.5, 0, 0.4, 1), (0, 1, 1, 1), (1.0, 0, 1.02, 1)]
)
def test_an_empty_or_turned_box_is_refused(wrong):
    with pytest.raises(UnreadableReply, match="is empty"):
        read_boxes(boxes(*wrong), most=1)


def test_one_bad_box_costs_the_reply():
    good = {"box": [0, 0, 1, 1], "score": 0.5}
    reply = json.dumps({"boxes": [good, {**good, "score": 2}]})
    with pytest.raises(UnreadableReply, match="score is 2"):
        read_boxes(reply, most=2)


def test_more_than_was_asked_for_is_refused():
    with pytest.raises(UnreadableReply, match="2 boxes; expected at most 1"):
        read_boxes(json.dumps({"boxes": BOXES["boxes"] * 2}), most=1)
    with pytest.raises(UnreadableReply, match="4 phrases; expected at most 3"):
        read_target(json.dumps({**TARGET, "phrases": list("abcd")}))


def test_a_phrase_is_one_line_and_said_once():
    target = read_target(
        json.dumps({**TARGET, "phrases": [" the\n red\tmug ", "The Red Mug", "a cup"]})
    )
    assert target.phrases == ("the red mug", "a cup")


@pytest.mark.parametrize(
    "text", ["カップ", "کتاب‌خانه", "the 🙂 cup", "Ünïcödé", "the “blue” one", "№ 7"]
)
def test_visible_text_of_any_language_is_read(text):
    assert read_target(json.dumps({**TARGET, "phrases": [text]})).phrases == (text,)


@pytest.mark.parametrize("char", "\x00\x07\x1b\x7f\u200b\u202e\u2066\ufeff\ue000\U000e0041\u00ad")
def test_hidden_characters_are_refused_by_their_number(char):
    with pytest.raises(UnreadableReply, match=f"U\\+{ord(char):04X}"):
        read_target(json.dumps({**TARGET, "phrases": [f"red{char}mug"]}))


def test_an_absent_target_may_have_no_phrase_and_a_present_one_may_not():
    assert read_target(json.dumps({**TARGET, "target": "absent", "phrases": []})).phrases == ()
    with pytest.raises(UnreadableReply, match="present and has no phrase"):
        read_target(json.dumps({**TARGET, "phrases": []}))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none_are_refused(value):
    with pytest.raises(UnreadableReply, match="finite"):
        read_verdict(json.dumps({**VERDICT, "validity": value}))
