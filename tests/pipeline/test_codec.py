"""The wire format: what is written is read back equal, and nothing else is taken for a sample."""

import copy
import dataclasses
import json
import pickle

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotators.label import Label, Quality
from annotators.masks import encode_mask
from pipeline.codec import decode_json, decode_mask_png, decode_sample, encode_sample, gold_of
from pipeline.records import Candidate, Phrase, Proposal, Provenance, Sample, SourceRef
from tests.pipeline.datasets_for_tests import bare_sample, encode_image, full_sample, picture
from tests.pipeline.datasets_for_tests import samples as varied

SIZE = (12, 17)
PICTURE = {
    "jpg": encode_image(picture(0, SIZE), "jpg"),
    "png": encode_image(picture(0, SIZE), "png"),
}
words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).filter(str.strip)
plain = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
unit = st.floats(0, 1)
coordinate = st.floats(allow_nan=False, allow_infinity=False)
made_by = st.builds(
    Provenance, expert=plain, model=plain, revision=plain, prompt_version=plain, config_hash=plain,
    score_raw=st.floats(allow_nan=False, allow_infinity=False),
)  # fmt: skip
bool_masks = st.binary(min_size=SIZE[0] * SIZE[1], max_size=SIZE[0] * SIZE[1]).map(
    lambda data: np.frombuffer(data, np.uint8).reshape(SIZE)
)
coded_masks = bool_masks.map(lambda m: encode_mask(m & 1))
labels = st.one_of(
    st.builds(
        Label, mask=bool_masks.map(lambda m: (m & 1) * np.uint8(255)), kind=st.just("binary"),
        members=st.lists(st.integers(0, 9)).map(tuple), rule=plain,
    ),
    st.builds(Label, mask=bool_masks, kind=st.just("soft"), members=st.just(()), rule=plain),
)  # fmt: skip
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | coordinate | plain,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(plain, inner, max_size=3),
    max_leaves=6,
)
any_sample = st.builds(
    Sample,
    id=st.from_regex(r"[a-z0-9][a-z0-9_-]{0,90}", fullmatch=True),
    image=st.just(PICTURE["jpg"]),
    size_hw=st.just(SIZE),
    instructions=st.lists(words, min_size=1, max_size=3).map(tuple),
    source=st.builds(
        SourceRef, dataset=plain, split=plain, key=plain, licence=plain, url=plain,
        image_sha256=plain, transcoded=plain,
    ),
    style=plain,
    gold=coded_masks,
    gold_role=st.sampled_from(["train", "audit"]),
    phrases=st.lists(
        st.builds(Phrase, text=words, role=st.sampled_from(["raw", "simplified", "enriched"]), made_by=plain)
    ).map(tuple),
    proposals=st.lists(
        st.builds(Proposal, box=st.tuples(*[coordinate] * 4), phrase=st.integers(0, 9), score=unit, made_by=made_by),
        max_size=3,
    ).map(tuple),
    candidates=st.lists(
        st.builds(
            Candidate, mask=coded_masks, phrase=st.integers(0, 9), proposal=st.none() | st.integers(0, 9),
            mask_score=unit, stability=unit, made_by=made_by,
        ),
        max_size=3,
    ).map(tuple),
    label=labels,
    quality=st.none() | st.builds(
        Quality, score=unit, parts=st.lists(st.tuples(plain, unit), max_size=3).map(tuple),
        rule=plain.filter(bool),
    ),
    faults=st.lists(plain, max_size=2).map(tuple),
    extra=st.dictionaries(plain, json_values, max_size=3).map(lambda d: tuple(d.items())),
)  # fmt: skip


def comparable(sample):
    """Everything a sample holds, arrays as lists: labels do not compare by value."""
    label = sample.label
    return (
        dataclasses.replace(sample, label=None),
        (label.mask.tolist(), label.kind, label.members, label.rule),
    )


def damaged(change):
    """Members of a full sample whose json went through `change`."""
    members = dict(encode_sample(full_sample(), "jpg"))
    fields = json.loads(members["json"])
    change(fields)
    return {**members, "json": json.dumps(fields).encode()}


@given(any_sample)
def test_any_sample_is_read_back_equal_and_written_again_alike(sample):
    members = encode_sample(sample, "jpg")
    back = decode_sample(sample.id, dict(members))
    assert comparable(back) == comparable(sample)
    assert encode_sample(back, "jpg") == members


@pytest.mark.parametrize("image_format", ["jpg", "png"])
def test_full_bare_and_soft_samples_are_read_back(image_format):
    for sample in varied(6, image_format=image_format):
        back = decode_sample(sample.id, dict(encode_sample(sample, image_format)))
        # a line that did not run and one that found nothing are the same on disk
        ran = {f: getattr(sample, f) or () for f in ("phrases", "proposals", "candidates")}
        assert comparable(back) == comparable(dataclasses.replace(sample, **ran))


def test_members_are_three_in_a_fixed_order():
    assert [suffix for suffix, _ in encode_sample(full_sample(), "jpg")] == [
        "jpg",
        "mask.png",
        "json",
    ]


def test_every_sample_has_the_same_fields_of_the_same_types():
    def shape(value):
        if isinstance(value, dict):
            return {name: shape(inner) for name, inner in value.items()}
        return type(value).__name__

    shapes = [shape(json.loads(dict(encode_sample(s, "jpg"))["json"])) for s in varied(3)]
    assert shapes[0] == shapes[1] == shapes[2]


def test_an_empty_gold_and_no_gold_are_told_apart():
    nobody = bare_sample()
    nothing = dataclasses.replace(nobody, gold=encode_mask(np.zeros(nobody.size_hw)))
    for sample, expected in ((nobody, None), (nothing, nothing.gold)):
        members = dict(encode_sample(sample, "jpg"))
        assert gold_of(decode_json(sample.id, members["json"])) == expected
        assert decode_sample(sample.id, members).gold == expected


def test_a_cut_or_fortran_ordered_label_is_written_like_any_other():
    wide = np.zeros((SIZE[0], SIZE[1] * 2), np.uint8)
    wide[2:5, 4:20] = 255
    cut = wide[:, ::2]
    written = [
        dict(encode_sample(dataclasses.replace(
            bare_sample(size_hw=SIZE), label=Label(mask=m, kind="binary", members=(), rule="best")
        ), "jpg"))["mask.png"]
        for m in (cut, np.asfortranarray(cut), np.ascontiguousarray(cut))
    ]  # fmt: skip
    assert written[0] == written[1] == written[2]
    assert np.array_equal(decode_mask_png("a", written[0]), cut)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"label": None}, "has no label yet|no label"),
        ({"image": b"GIF89a"}, "holds unknown bytes; this dataset stores jpg"),
        ({"image": PICTURE["png"]}, "holds png bytes"),
        ({"instructions": ("half a \ud800 pair",)}, "cannot be written"),
        ({"extra": (("score", float("nan")),)}, "cannot be written"),
        ({"extra": (("when", object()),)}, "cannot be written"),
        ({"style": 7}, r"style is int 7; expected string"),
    ],
)
def test_what_no_reader_would_take_is_never_written(change, says):
    sample = dataclasses.replace(full_sample(), **change)
    with pytest.raises(ValueError, match=says):
        encode_sample(sample, "jpg")


def test_a_score_without_a_number_is_never_written():
    full = full_sample()
    by = dataclasses.replace(full.candidates[0].made_by, score_raw=float("nan"))
    candidate = dataclasses.replace(full.candidates[0], made_by=by)
    with pytest.raises(ValueError, match=r"candidates\[0\]\.score_raw is float nan"):
        encode_sample(dataclasses.replace(full, candidates=(candidate,)), "jpg")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: f.pop("style"), "style is missing"),
        (lambda f: f.update(colour="red"), "colour is not a field"),
        (lambda f: f.update(format=1), "not of format 2"),
        (lambda f: f.update(format=2.0), "format is float 2.0"),
        (lambda f: f.update(id="other"), "says its id is 'other'"),
        (lambda f: f.update(height="24"), "height is str 24; expected int64"),
        (lambda f: f.update(height=24.0), "height is float"),
        (lambda f: f.update(height=True), "height is bool"),
        (lambda f: f.update(height=-24), "contradicts itself"),
        (lambda f: f.update(height=25), "contradicts itself: .* on an image of"),
        (lambda f: f.update(instructions="grab it"), "instructions is str; expected a list"),
        (lambda f: f.update(instructions=[]), "empty instruction"),
        (lambda f: f["quality"].update(score=1), "quality.score is int 1; expected float64"),
        (lambda f: f["quality"].update(score=2.0), "contradicts itself"),
        (lambda f: f["gold"].update(size=[]), "contradicts itself"),
        (lambda f: f["gold"].update(size=[10**9, 10**9]), "expected 1x1 to"),
        (lambda f: f["gold"].update(size=[-24, -32]), "expected 1x1 to"),
        (lambda f: f["label"].update(kind="hard"), "label kind 'hard'"),
        (lambda f: f["candidates"][0]["mask"].update(size=[3, 3]), "candidate of"),
        (lambda f: f["candidates"][0].update(phrase="0"), "expected int64"),
        (lambda f: f["phrases"][0].update(role="long"), "phrase role 'long'"),
        (lambda f: f.update(extra="[1]"), "contradicts itself"),
        (lambda f: f.update(extra="{"), "contradicts itself"),
        (lambda f: f.update(extra='{"a": NaN}'), "NaN is no JSON number"),
        (lambda f: f.update(source=None), "source is NoneType; expected an object"),
    ],
)
def test_a_wrong_json_member_is_refused_by_sample_and_field(change, says):
    with pytest.raises(ValueError, match=f"^sample 'full-0000'.*{says}"):
        decode_sample("full-0000", damaged(change))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "damaged"),
        (b"{", "damaged"),
        (b"\xff\xfe", "damaged"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[1]", "not of format"),
        (b"null", "not of format"),
        (b'{"format": NaN}', "NaN is no JSON number"),
        (b'{"format": 1, "x": -Infinity}', "-Infinity is no JSON number"),
        (b'{"format": 1' + b"0" * 5000 + b"}", "damaged"),
        (pickle.dumps({"format": 1}), "damaged"),
    ],
)
def test_what_is_no_json_is_refused(data, says):
    with pytest.raises(ValueError, match=f"sample 'a': json member .*{says}"):
        decode_json("a", data)


def test_a_number_beyond_floats_is_refused():
    text = dict(encode_sample(full_sample(), "jpg"))["json"].decode()
    text = text.replace('"score_raw":3.5', '"score_raw":1e999')
    with pytest.raises(ValueError, match="score_raw is float inf"):
        decode_json("full-0000", text.encode())


@pytest.mark.parametrize("field", ["jpg", "mask.png", "json"])
def test_a_missing_or_additional_member_is_refused(field):
    members = dict(encode_sample(full_sample(), "jpg"))
    with pytest.raises(ValueError, match=r"expected jpg or png, mask\.png and json"):
        decode_sample("full-0000", {k: v for k, v in members.items() if k != field})
    with pytest.raises(ValueError, match=r"expected jpg or png, mask\.png and json"):
        decode_sample("full-0000", {**members, "pyd": b""})


def test_an_image_member_of_another_format_is_refused():
    members = dict(encode_sample(full_sample(), "jpg"))
    with pytest.raises(ValueError, match="jpg member holds png bytes"):
        decode_sample("full-0000", {**members, "jpg": PICTURE["png"]})


def png(array):
    return cv2.imencode(".png", array)[1].tobytes()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nothing",
        png(np.zeros(SIZE, np.uint8))[:-20],
        png(np.zeros((*SIZE, 3), np.uint8)),
        png(np.zeros((*SIZE, 4), np.uint8)),
        png(np.zeros(SIZE, np.uint16)),
        cv2.imencode(".jpg", np.zeros(SIZE, np.uint8))[1].tobytes(),
    ],
    ids=["empty", "text", "cut", "colour", "alpha", "16-bit", "jpeg"],
)
@pytest.mark.parametrize("as_view", [bytes, memoryview])
def test_a_mask_that_is_no_grey_8_bit_png_is_refused(data, as_view):
    with pytest.raises(ValueError, match=r"sample 'a': mask\.png is not a readable 8-bit grey PNG"):
        decode_mask_png("a", as_view(data))


def test_decoding_changes_nothing_it_was_given():
    members = dict(encode_sample(full_sample(), "jpg"))
    before = copy.deepcopy(members)
    decode_sample("full-0000", {name: memoryview(data) for name, data in members.items()})
    assert members == before
