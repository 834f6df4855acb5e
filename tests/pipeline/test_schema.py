"""The schema check finds what is put wrong anywhere, and nothing in what the codec writes."""

import copy
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.codec import encode_sample
from pipeline.schema import JSON_SCHEMA, check_fields, parse_json
from tests.pipeline.datasets_for_tests import full_sample, samples

MEMBER = json.loads(dict(encode_sample(full_sample(), "jpg"))["json"])
odd = st.sampled_from(
    [None, True, 1, 1.5, math.nan, -math.inf, "x", [], {}, [1], ["a"], [1.0], {"a": 1}]
)


def places(value, at=()):
    """Path of every value inside a JSON value, the outermost included."""
    yield at
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, item in inner:
        yield from places(item, (*at, key))


def test_every_written_sample_fits():
    for sample in samples(6):
        member = json.loads(dict(encode_sample(sample, "jpg"))["json"])
        assert list(check_fields(member)) == []
        assert member.keys() == JSON_SCHEMA.keys()


@given(st.sampled_from(list(places(MEMBER))[1:]), odd)
def test_a_value_of_another_type_is_told_wherever_it_stands(place, value):
    member = copy.deepcopy(MEMBER)
    node = member
    for key in place[:-1]:
        node = node[key]
    was = node[place[-1]]
    node[place[-1]] = value
    number = isinstance(value, float) and not math.isfinite(value)
    if number or type(value) is not type(was):
        told = list(check_fields(member))
        assert len(told) >= 1
        assert str(place[0]) in told[0]


@pytest.mark.parametrize("value", [None, 1, [], "text", {}])
def test_what_is_no_member_does_not_fit(value):
    assert list(check_fields(value))


def test_a_missing_and_an_unknown_field_are_both_told():
    member = {name: value for name, value in MEMBER.items() if name != "style"}
    member["colour"] = "red"
    assert list(check_fields(member)) == [
        "style is missing",
        "colour is not a field of this format",
    ]


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", '{"a": -Infinity}', "[" * 100_000, "{", ""])
def test_what_is_no_json_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011 - each has its own words
        parse_json(text)
