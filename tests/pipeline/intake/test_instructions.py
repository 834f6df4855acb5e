"""Instructions at the edge: what passes untouched, what is tidied, what is refused."""

import pytest

from pipeline.intake.instructions import MAX_CHARACTERS, clean_instructions
from pipeline.intake.refusal import Refused


def reason(*texts: object) -> str:
    with pytest.raises(Refused) as caught:
        clean_instructions(texts)
    return caught.value.reason


@pytest.mark.parametrize(
    "text",
    [
        "the red mug",
        "红色的杯子",
        "الكوب الأحمر",
        "赤いカップはどこ？",
        "👩‍🚀🏽",
        "\u202bהספל האדום\u202c",
        "caf\u0065\u0301",
        "x" * MAX_CHARACTERS,
    ],
)
def test_any_script_passes_untouched(text: str):
    assert clean_instructions([text]) == (text,)


def test_white_space_is_tidied_and_the_order_kept():
    assert clean_instructions(["  a\tb\r\n", "c"]) == ("a b", "c")


@pytest.mark.parametrize("text", ["", "   ", "\n\t", "\u200b", "\u00a0\u2003", "\u202e"])
def test_what_shows_nothing_is_empty(text: str):
    assert reason("fine", text) == "instruction-empty"


def test_too_long_is_refused_and_quoted_in_part():
    with pytest.raises(Refused, match="10000 characters; at most 2000") as caught:
        clean_instructions(["a" * 10_000])
    assert caught.value.reason == "instruction-too-long"
    assert len(caught.value.detail) < 200


@pytest.mark.parametrize("text", [None, 7, ["a"], "nul\x00", "bell\x07", "half \ud83d"])
def test_what_is_no_text_is_refused(text: object):
    assert reason(text) == "instruction-not-text"


def test_no_phrasing_at_all_is_its_own_reason():
    assert reason() == "instruction-missing"
