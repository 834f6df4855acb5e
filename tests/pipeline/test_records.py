"""Records refuse what no later step could handle, and ids are safe as file names and WebDataset keys."""

import dataclasses

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from annotators.label import Label, Quality
from annotators.masks import encode_mask
from pipeline.records import ID, LINE, Candidate, Phrase, Proposal, Provenance, Reject, safe_id
from tests.pipeline.datasets_for_tests import bare_sample, full_sample

BY = Provenance(expert="someone")


@given(st.text(max_size=200))
@example("")
@example("..")
@example("../../etc/passwd")
@example("a\udc80b")  # a file name that is not UTF-8
@example("ÀÉ" * 90)
@example("x" * 81)
def test_a_safe_id_is_valid_for_any_text_and_always_the_same(text):
    assert ID.fullmatch(safe_id(text))
    assert safe_id(text) == safe_id(text)


@given(st.sets(st.text(max_size=100), min_size=2, max_size=20))
@example({"a.b", "a-b", "a/b", "A-B", " a-b", "a b"})
@example({"x" * 80, "x" * 81, "x" * 82})
def test_distinct_texts_give_distinct_ids(texts):
    assert len({safe_id(text) for text in texts}) == len(texts)


@given(st.from_regex(r"[a-z0-9]([a-z0-9_-]{0,78}[a-z0-9])?", fullmatch=True))
def test_a_text_that_is_a_short_id_stays_as_it_is(text):
    assert safe_id(text) == text


@pytest.mark.parametrize("bad", ["", "A", "a.b", "a/b", "-a", "_a", "a b", "a\n", "ä", "x" * 92])
def test_a_sample_with_an_unsafe_id_is_refused(bad):
    with pytest.raises(ValueError, match=r"use records\.safe_id"):
        dataclasses.replace(bare_sample(), id=bad)


@pytest.mark.parametrize("texts", [(), ("",), ("find it", "  \n")])
def test_a_sample_without_words_is_refused(texts):
    with pytest.raises(ValueError, match="empty instruction"):
        dataclasses.replace(bare_sample(), instructions=texts)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"size_hw": (0, 5)}, "has size"),
        ({"size_hw": (-1, 5)}, "has size"),
        ({"gold_role": "maybe"}, "gold role 'maybe'"),
        ({"gold": encode_mask(np.ones((3, 3)))}, "gold of \\(3, 3\\)"),
        ({"size_hw": (99, 5)}, "on an image of \\(99, 5\\)"),
        (
            {
                "candidates": (
                    Candidate(
                        mask=encode_mask(np.ones((3, 3))),
                        phrase=0,
                        proposal=None,
                        mask_score=1.0,
                        stability=1.0,
                        made_by=BY,
                    ),
                )
            },
            "candidate of \\(3, 3\\) by 'someone'",
        ),
    ],
)
def test_a_sample_whose_parts_do_not_fit_is_refused(changes, says):
    with pytest.raises(ValueError, match=says):
        dataclasses.replace(bare_sample(), **changes)


def test_filling_a_field_gives_a_new_sample_and_leaves_the_old_one():
    bare = dataclasses.replace(bare_sample(), label=None)
    phrases = (Phrase(text="a cup", role="raw", made_by="rules"),)
    filled = bare.fill("phrases", phrases)
    assert filled.phrases == phrases
    assert bare.phrases is None
    assert dataclasses.replace(filled, phrases=None) == bare


def test_a_field_is_filled_once_and_only_fields_of_the_line_are():
    full = full_sample()
    for field in LINE:
        with pytest.raises(AssertionError, match="filled already"):
            full.fill(field, None)
    with pytest.raises(AssertionError, match="gold"):
        full.fill("gold", None)


def test_records_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        full_sample().id = "other"  # type: ignore[misc]


@pytest.mark.parametrize("reason", ["", "Bad Reason", "a_b", "a-", "-a", "a--b", "a/b"])
def test_a_reject_reason_is_a_slug_that_can_be_counted(reason):
    with pytest.raises(ValueError, match="slug"):
        Reject(sample_id="a", stage="keep", reason=reason)


@pytest.mark.parametrize("score", [-0.01, 1.01, float("nan"), float("inf")])
def test_scores_outside_the_unit_interval_are_refused(score):
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        Proposal(box=(0, 0, 1, 1), phrase=0, score=score, made_by=BY)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        Quality(score=0.5, parts=(("agreement", score),), rule="agreement")


def test_a_quality_says_how_it_was_made():
    with pytest.raises(ValueError, match="has no rule"):
        Quality(score=0.5, parts=(), rule="")


def test_labels_and_phrases_name_only_kinds_that_exist():
    mask = np.zeros((2, 2), np.uint8)
    with pytest.raises(ValueError, match="label kind 'hard'"):
        Label(mask=mask, kind="hard", members=(), rule="best")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="phrase role 'long'"):
        Phrase(text="a", role="long", made_by="rules")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="is empty"):
        Phrase(text=" ", role="raw", made_by="rules")


def test_a_binary_label_holds_no_grey_and_a_label_is_grey_8_bit():
    with pytest.raises(ValueError, match="kind='soft'"):
        Label(mask=np.full((2, 2), 7, np.uint8), kind="binary", members=(), rule="best")
    with pytest.raises(ValueError, match="expected uint8"):
        Label(mask=np.zeros((2, 2)), kind="soft", members=(), rule="soft")  # type: ignore[arg-type]


def test_a_soft_label_counts_from_half_up():
    mask = np.array([[0, 127], [128, 255]], np.uint8)
    label = Label(mask=mask, kind="soft", members=(), rule="soft")
    assert label.area == 2
    assert label.box == (0.0, 1.0, 2.0, 2.0)
