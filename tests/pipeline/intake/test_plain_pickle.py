"""Pickles of plain data come in whole and equal to what `pickle` reads; every other pickle is refused unexecuted."""

import os
import pickle
import pickletools
import struct
import tracemalloc
from collections import OrderedDict
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.intake.plain_pickle import parse_plain_pickle, read_plain_pickle

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
SHARED = ["the", "dog"]
REFS = [
    {
        "ref_id": 0,
        "ann_id": 1719310,
        "file_name": "COCO_train2014_000000581857_16.jpg",
        "split": "train",
        "sent_ids": [0, 1, 2],
        "sentences": [{"raw": "THE LADY", "sent": "the lady", "tokens": SHARED, "sent_id": 0}],
        "box": (1.5, -2.25, 1e300, float("inf")),
        "odd": [None, True, False, -1, 255, 65536, -(2**31), 2**31, 2**100, -(2**2100), ""],
        "again": SHARED,
    },
    {"é": "日本\n\\ '\" \ud800 \U0001f600", 3: (), None: ((),), 2.5: {}, True: [[]], "t": (1, 2, 3, 4)},
]  # fmt: skip


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_data_of_every_protocol_is_what_pickle_reads(protocol: int):
    data = pickle.dumps(REFS, protocol)
    got = parse_plain_pickle(data)
    assert repr(got) == repr(pickle.loads(data)) == repr(REFS)
    assert got[0]["sentences"][0]["tokens"] is got[0]["again"]


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=300),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text() | st.integers() | st.none(), inner)
    ),
)


@pytest.mark.slow
@given(PLAIN, st.sampled_from(list(PROTOCOLS)))
def test_any_plain_value_is_what_pickle_reads(value: Any, protocol: int):
    data = pickle.dumps(value, protocol)
    assert repr(parse_plain_pickle(data)) == repr(pickle.loads(data))
    plain = pickletools.optimize(data)
    assert repr(parse_plain_pickle(plain)) == repr(value)


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("size", [0, 3, 300])
def test_bytes_of_python_3_stay_bytes(protocol: int, size: int):
    assert parse_plain_pickle(pickle.dumps(b"\xff" * size, protocol)) == b"\xff" * size


@pytest.mark.parametrize(
    "data",
    [
        b"S'caf\\xc3\\xa9'\n.",
        b"S'caf\\xe9'\np0\n.",
        b'S"caf\\xe9"\n.',
        b"U\x05caf\xc3\xa9.",
        b"\x80\x02U\x04caf\xe9q\x00.",
        b"T\x04\x00\x00\x00caf\xe9.",
    ],
)
def test_the_text_of_python_2_is_utf_8_or_else_latin_1(data: bytes):
    assert parse_plain_pickle(data) == "café"


def test_a_pickle_as_python_2_wrote_it_is_read():
    data = b"(lp1\n(dp2\nS'sent'\np3\nS'the dog'\np4\nsS'ann_id'\np5\nI12\nsS'split'\nL7L\nsS'no'\nI00\nsa."
    assert parse_plain_pickle(data) == [{"sent": "the dog", "ann_id": 12, "split": 7, "no": False}]


class Runs:
    """What an attacker pickles: a call on loading."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.canary}",)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_pickle_that_calls_the_shell_is_refused_by_name_and_calls_nothing(
    tmp_path: Path, protocol: int
):
    canary = tmp_path / "canary"
    path = tmp_path / "refs(unc).p"
    path.write_bytes(pickle.dumps([{"a": Runs(canary)}], protocol))
    with pytest.raises(ValueError, match=r"refs\(unc\)\.p: .*GLOBAL '\w+ system' is not plain"):
        read_plain_pickle(path)
    assert not canary.exists()
    pickle.loads(path.read_bytes())
    assert canary.exists(), "the payload would not have worked at all"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("GLOBAL", b"cos\nsystem\n(S'true'\ntR."),
        ("STACK_GLOBAL", b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R."),
        ("INST", b"(S'true'\nios\nsystem\n."),
        ("GLOBAL", b"(cos\nsystem\nS'true'\no."),
        ("OBJ", b"(S'os.system'\nS'true'\no."),
        ("REDUCE", b"S'os.system'\n(S'true'\ntR."),
        ("BUILD", b"}}S'a'\nI1\nsb."),
        ("NEWOBJ", b"\x80\x02S'list'\n)\x81."),
        ("NEWOBJ_EX", b"\x80\x04S'list'\n)}\x92."),
        ("EXT1", b"\x80\x02\x82\x01."),
        ("EXT2", b"\x80\x02\x83\x01\x01."),
        ("EXT4", b"\x80\x02\x84\x01\x01\x01\x01."),
        ("PERSID", b"Phome\n."),
        ("BINPERSID", b"S'home'\nQ."),
        ("EMPTY_SET", pickle.dumps({1}, 4)),
        ("FROZENSET", pickle.dumps(frozenset([1]), 4)),
        ("BYTEARRAY8", pickle.dumps(bytearray(b"x"), 5)),
        ("NEXT_BUFFER", b"\x80\x05\x97."),
        ("DUP", b"I1\n2."),
        ("POP", b"I1\nI2\n0."),
        ("GLOBAL", pickle.dumps(b"python 3 bytes", 2)),
        ("GLOBAL", pickle.dumps(OrderedDict(a=1), 2)),
        ("STACK_GLOBAL", pickle.dumps(date(2024, 1, 2), 5)),
    ],
)
def test_every_opcode_that_is_not_plain_data_is_refused_by_name(name: str, data: bytes):
    with pytest.raises(ValueError, match=rf"byte \d+ of the pickle, {name}: {name}.* nothing was"):
        parse_plain_pickle(data)


def in_itself(kind: str) -> bytes:
    value: Any = {} if kind == "dict" else []
    if kind == "dict":
        value["a"] = value
    else:
        value.append([value])
    return pickle.dumps(value, 2)


@pytest.mark.parametrize("kind", ["list", "dict"])
def test_a_value_inside_itself_is_refused(kind: str):
    with pytest.raises(ValueError, match="stands inside itself"):
        parse_plain_pickle(in_itself(kind))


def test_a_tuple_inside_itself_is_refused():
    value: Any = ([],)
    value[0].append(value)
    for protocol in PROTOCOLS:
        with pytest.raises(ValueError, match=r"POP|stands inside itself"):
            parse_plain_pickle(pickle.dumps(value, protocol))


def test_a_few_bytes_that_unfold_to_billions_of_values_are_refused():
    value: list[Any] = ["lol"] * 10
    for _ in range(12):
        value = [value] * 10
    data = pickle.dumps(value, 2)
    assert len(data) < 2000
    with pytest.raises(ValueError, match="unfolds to more than"):
        parse_plain_pickle(data)


@pytest.mark.slow
@pytest.mark.parametrize(
    "data",
    [
        b"]" * 100_000 + b"a" * 99_999 + b".",
        b")" + b"\x85" * 100_000 + b".",
        b"(" * 100_000 + b"t" * 100_000 + b".",
        b"(I1\n" * 50_000 + b"l" * 50_000 + b".",
    ],
)
def test_nesting_without_end_is_refused_and_kills_nothing(data: bytes):
    with pytest.raises(ValueError, match="containers deep"):
        parse_plain_pickle(data)


@pytest.mark.parametrize(
    "data", [b"]" * 500 + b".", b")" + b"\x85" * 500 + b".", b"N" + b"q\x01" * 500 + b"."]
)
def test_a_program_that_only_takes_memory_is_stopped_on_the_way(data: bytes):
    with pytest.raises(ValueError, match="more than 400 opcodes"):
        parse_plain_pickle(data, max_values=100)


def test_a_nested_tuple_as_a_key_is_refused_before_it_is_hashed():
    doubling = b")" + b"".join(b"q%c" % n + b"h%c\x86" % n for n in range(100))
    with pytest.raises(ValueError, match="a tuple is a key"):
        parse_plain_pickle(b"}" + doubling + b"Ns.")


def test_bounds_are_counted_as_said():
    data = pickle.dumps([[1, 2], [3]])
    assert parse_plain_pickle(data, max_values=6, max_depth=2) == [[1, 2], [3]]
    with pytest.raises(ValueError, match="more than 5 values"):
        parse_plain_pickle(data, max_values=5)
    with pytest.raises(ValueError, match="more than 1 containers deep"):
        parse_plain_pickle(data, max_depth=1)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_pickle_cut_anywhere_is_refused(protocol: int):
    data = pickle.dumps(REFS, protocol)
    for stop in range(len(data)):
        with pytest.raises(ValueError, match=r"pickle"):
            parse_plain_pickle(data[:stop])


@pytest.mark.parametrize(
    "data",
    [
        b"T" + struct.pack("<i", 2**31 - 1) + b"x.",
        b"X" + struct.pack("<I", 2**32 - 1) + b"x.",
        b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"x.",
        b"\x80\x04\x8d" + struct.pack("<Q", 2**64 - 1) + b"x.",
        b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"x.",
        b"\x80\x02\x8b" + struct.pack("<i", -5) + b"x.",
        b"I" + b"9" * 100_000 + b"\n.",
        b"L" + b"9" * 100_000 + b"L\n.",
    ],
)
def test_lengths_that_the_file_does_not_hold_are_refused_and_take_no_memory(data: bytes):
    tracemalloc.start()
    with pytest.raises(ValueError, match="byte"):
        parse_plain_pickle(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 2**20


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "cut"),
        (b".", "ends with 0 values"),
        (b"I1\nI2\n.", "ends with 2 values"),
        (b"(I1\n.", "ends with"),
        (b"I1\n.I2\n.", "bytes follow the end"),
        (b"{}", "no pickle opcode|cut"),
        (b"[1, 2]", "no pickle opcode"),
        (b"\x80\x06N.", "protocol 6"),
        (b"h\x05.", "never remembered"),
        (b"g-3\n.", "never remembered"),
        (b"q\x00.", "remembers a value where there is none"),
        (b"a.", "where there is none"),
        (b"](a.", "where there is none"),
        (b"I1\nI2\na.", "fills a int; expected a list"),
        (b"]I1\nI2\ns.", "fills a list; expected a dict"),
        (b"t.", "never opened"),
        (b"(I1\nd.", "no value"),
        (b"\x86.", "where there is none"),
        (b"}](I1\nI2\ntNs.", "fills a list|is a key"),
        (b"S'open\n.", "quote"),
        (b"Sopen\n.", "quote"),
        (b"S'\\x4'\n.", "escape"),
        (b"Ione\n.", "invalid literal"),
    ],
)
def test_a_program_that_makes_no_sense_is_refused_with_the_place(data: bytes, says: str):
    with pytest.raises(ValueError, match=says):
        parse_plain_pickle(data)


@given(st.binary(max_size=200))
def test_noise_is_refused_or_plain_and_never_anything_else(data: bytes):
    try:
        value = parse_plain_pickle(data)
    except ValueError:
        return
    assert type(value) in (type(None), bool, int, float, str, bytes, list, tuple, dict)


@given(st.integers(min_value=0), st.integers(0, 255), st.sampled_from(list(PROTOCOLS)))
def test_one_wrong_byte_is_refused_or_plain_and_never_anything_else(at: int, byte: int, proto: int):
    data = bytearray(pickle.dumps(REFS, proto))
    data[at % len(data)] = byte
    try:
        parse_plain_pickle(bytes(data))
    except ValueError:
        return


def test_a_missing_file_is_an_error(tmp_path: Path):
    with pytest.raises(ValueError, match="does not exist"):
        read_plain_pickle(tmp_path / "none.p")
