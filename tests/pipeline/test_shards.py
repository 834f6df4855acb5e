"""Shards: the same bytes every time, whole or not there, read alike by foreign readers, damage always seen."""

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.shards import BLOCK, ShardWriter, read_sample, read_shard, write_atomic

ROOT = Path(__file__).parents[2]
MEMBERS = {
    "a-1": {"jpg": b"x" * 700, "mask.png": b"", "json": b"{}"},
    "b_2": {"jpg": b"y" * 512, "mask.png": b"m" * 511, "json": b'{"z": 1}'},
    "c3": {"jpg": bytes(513), "mask.png": b"n", "json": b"[]"},
}


def write(path, samples=None):
    with ShardWriter(path) as writer:
        for key, members in (MEMBERS if samples is None else samples).items():
            writer.write(key, members.items())
    assert writer.stat is not None
    return writer.stat


def read(path, sha256=None, count=None):
    found = read_shard(path, sha256=sha256, count=count)
    return {key: {s: bytes(view) for s, view in members.items()} for key, members in found}


def crafted(path, *members, end=b"\0" * 1024):
    """A tar by the standard library: each member is (name, changes of its TarInfo, data)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, changes, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for field, value in changes.items():
                setattr(info, field, value)
            tar.addfile(info, io.BytesIO(data))
        length = tar.offset
    path.write_bytes(buffer.getvalue()[:length] + end)
    return path


def test_what_was_written_is_read_back_in_order(tmp_path):
    stat = write(tmp_path / "s.tar")
    got = read(tmp_path / "s.tar", stat.sha256, 3)
    assert got == MEMBERS
    assert list(got) == list(MEMBERS)
    assert [*got["a-1"]] == ["jpg", "mask.png", "json"]


def test_the_same_samples_give_the_same_bytes(tmp_path):
    first, second = write(tmp_path / "s.tar"), write(tmp_path / "t.tar")
    assert (tmp_path / "s.tar").read_bytes() == (tmp_path / "t.tar").read_bytes()
    assert first == second


def test_the_stat_tells_hash_size_and_offsets(tmp_path):
    stat = write(tmp_path / "s.tar")
    data = (tmp_path / "s.tar").read_bytes()
    assert stat.sha256 == hashlib.sha256(data).hexdigest()
    assert stat.size == len(data)
    for key, offset in stat.offsets.items():
        assert offset % BLOCK == 0
        assert data[offset:].startswith(f"{key}.jpg\0".encode())


def test_the_bytes_are_those_of_the_standard_library(tmp_path):
    write(tmp_path / "s.tar")
    flat = [(f"{k}.{s}", {}, data) for k, members in MEMBERS.items() for s, data in members.items()]
    theirs = crafted(tmp_path / "t.tar", *flat).read_bytes()
    assert (tmp_path / "s.tar").read_bytes() == theirs


names = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,90}", fullmatch=True)
contents = st.fixed_dictionaries({"jpg": st.binary(max_size=1100), "mask.png": st.binary()})


@settings(max_examples=10)  # each one waits for the disk twice
@given(st.dictionaries(names, contents, max_size=4))
def test_any_samples_come_back_from_us_and_from_tarfile(tmp_path_factory, samples):
    path = tmp_path_factory.mktemp("any") / "s.tar"
    stat = write(path, samples)
    assert read(path, stat.sha256, len(samples)) == samples
    with tarfile.open(path) as tar:
        theirs = {m.name: tar.extractfile(m).read() for m in tar}
    assert theirs == {f"{k}.{s}": data for k, ms in samples.items() for s, data in ms.items()}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
def test_webdataset_reads_the_same_samples(tmp_path):
    import webdataset as wds

    write(tmp_path / "s.tar")
    found = wds.WebDataset(str(tmp_path / "s.tar"), shardshuffle=False, empty_check=False)
    theirs = {s["__key__"]: {k: v for k, v in s.items() if k[0] != "_"} for s in found}
    assert theirs == MEMBERS


@pytest.mark.slow
def test_a_shard_by_webdataset_is_refused_for_its_pax_headers(tmp_path):
    import webdataset as wds

    with wds.TarWriter(str(tmp_path / "s.tar")) as writer:
        writer.write({"__key__": "a", "txt": b"hello"})
    with pytest.raises(ValueError, match="PAX"):
        read(tmp_path / "s.tar")


def test_nothing_is_seen_before_the_shard_is_whole(tmp_path):
    path = tmp_path / "s.tar"
    writer = ShardWriter(path)
    writer.write("a", [("json", b"{}")])
    assert not path.exists()
    assert all(p.name.startswith(".") for p in tmp_path.iterdir())
    writer.close()
    assert [p.name for p in tmp_path.iterdir()] == ["s.tar"]


def test_an_error_inside_leaves_no_file(tmp_path):
    def fail():
        with ShardWriter(tmp_path / "s.tar") as writer:
            writer.write("a", [("json", b"{}")])
            raise RuntimeError("expert")

    with pytest.raises(RuntimeError, match="expert"):
        fail()
    assert not list(tmp_path.iterdir())


def test_an_old_shard_stays_when_a_new_one_is_aborted(tmp_path):
    path = tmp_path / "s.tar"
    write(path)
    old = path.read_bytes()
    writer = ShardWriter(path)
    writer.write("a", [("json", b"{}")])
    writer.abort()
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["s.tar"]


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from pipeline.shards import ShardWriter, write_atomic
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
path = Path(sys.argv[1])
try:
    if sys.argv[2] == "atomic":
        write_atomic(path, bytes(9000))
    else:
        with ShardWriter(path) as writer:
            writer.write("a", [("jpg", bytes(int(sys.argv[2])))])
except OSError as error:
    print(error.errno)
"""


@pytest.mark.parametrize("amount", ["100", "9000", "5000000", "atomic"])
def test_a_disk_that_takes_no_more_leaves_no_file(tmp_path, amount):
    # 100 bytes fit; at 9,000 the disk is found full on closing, at 5,000,000 while writing
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / "s.tar"), amount]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == ("" if amount == "100" else "27\n")
    assert [p.name for p in tmp_path.iterdir()] == (["s.tar"] if amount == "100" else [])


def test_two_writers_of_one_path_do_not_mix(tmp_path):
    path = tmp_path / "s.tar"
    first, second = ShardWriter(path), ShardWriter(path)
    for writer, data in ((first, b"1" * 900), (second, b"2" * 900)):
        writer.write("a", [("txt", data)])
    stats = [first.close(), second.close()]
    assert read(path, stats[1].sha256, 1) == {"a": {"txt": b"2" * 900}}
    assert [p.name for p in tmp_path.iterdir()] == ["s.tar"]


@pytest.mark.parametrize(
    ("key", "members", "says"),
    [
        ("a.b", [("json", b"")], "without dots"),
        ("", [("json", b"")], "without dots"),
        ("a/b", [("json", b"")], "without slashes"),
        ("../../etc/evil", [("json", b"")], "without dots"),
        ("ä", [("json", b"")], "printable ASCII"),
        ("a\nb", [("json", b"")], "printable ASCII"),
        ("a\0b", [("json", b"")], "printable ASCII"),
        ("a", [("x/y", b"")], "without slashes"),
        ("a", [("", b"")], "unnamed"),
        ("a", [("json", b"1"), ("json", b"2")], "repeated"),
        ("a", [], "no members"),
        ("k" * 92, [("mask.png", b"")], "100 bytes of name"),
    ],
)
def test_a_name_that_readers_would_split_elsewhere_is_refused(tmp_path, key, members, says):
    with ShardWriter(tmp_path / "s.tar") as writer:
        with pytest.raises(ValueError, match=says):
            writer.write(key, members)
        writer.write("good", [("json", b"{}")])
    assert writer.stat is not None
    assert list(writer.stat.offsets) == ["good"]
    assert list(read(tmp_path / "s.tar", writer.stat.sha256, 1)) == ["good"]


def test_the_longest_id_fits_with_the_longest_suffix(tmp_path):
    from pipeline.records import ID

    key = "k" * 91
    assert ID.fullmatch(key)
    assert not ID.fullmatch(key + "k")
    write(tmp_path / "s.tar", {key: {"mask.png": b"m"}})
    assert read(tmp_path / "s.tar") == {key: {"mask.png": b"m"}}


def test_a_sample_is_written_once(tmp_path):
    with ShardWriter(tmp_path / "s.tar") as writer:
        writer.write("a", [("json", b"{}")])
        with pytest.raises(ValueError, match="already"):
            writer.write("a", [("json", b"{}")])


def test_every_cut_and_every_flipped_bit_is_seen(tmp_path):
    path = tmp_path / "s.tar"
    stat = write(path)
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 256), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"sha256|empty"):
            read(path, stat.sha256, 3)
    for bit in range(0, len(whole) * 8, 1009):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(ValueError, match="sha256"):
            read(path, stat.sha256, 3)


def test_no_sample_of_a_damaged_shard_is_handed_out(tmp_path):
    stat = write(tmp_path / "s.tar")
    data = bytearray((tmp_path / "s.tar").read_bytes())
    data[-1] ^= 1
    (tmp_path / "s.tar").write_bytes(data)
    with pytest.raises(ValueError, match="restore it"):
        next(read_shard(tmp_path / "s.tar", sha256=stat.sha256, count=3))


def test_even_without_a_receipt_a_cut_shard_is_not_taken_for_a_whole_one(tmp_path):
    path = tmp_path / "s.tar"
    write(path)
    whole = path.read_bytes()
    for length in range(0, len(whole) - 2 * BLOCK, BLOCK):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"cut|empty"):
            read(path)


def test_even_without_a_receipt_a_damaged_or_zeroed_header_is_not_taken_for_the_end(tmp_path):
    path = tmp_path / "s.tar"
    stat = write(path)
    whole = path.read_bytes()
    header = stat.offsets["b_2"]
    for damage, says in ((bytes(BLOCK), "hole"), (b"\xff" * 9, "no readable|checksum")):
        path.write_bytes(whole[:header] + damage + whole[header + len(damage) :])
        with pytest.raises(ValueError, match=says):
            read(path)


def test_a_wrong_count_is_seen(tmp_path):
    stat = write(tmp_path / "s.tar")
    with pytest.raises(ValueError, match="holds 3 samples, its receipt says 4"):
        read(tmp_path / "s.tar", stat.sha256, 4)


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ([("a.jpg", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, b"")], "links"),
        ([("a.jpg", {"type": tarfile.LNKTYPE, "linkname": "b.jpg"}, b"")], "links"),
        ([("a.jpg", {"type": tarfile.CHRTYPE}, b"")], "plain ustar"),
        ([("a.d", {"type": tarfile.DIRTYPE}, b"")], "plain ustar"),
        ([("x" * 60 + "/" + "y" * 60 + ".jpg", {}, b"")], "prefixes"),
        ([("../../etc/evil.jpg", {}, b"")], "no folder"),
        ([("/etc/evil.jpg", {}, b"")], "no folder"),
        ([("..jpg", {}, b"")], "KEY.SUFFIX"),
        ([(".hidden", {}, b"")], "KEY.SUFFIX"),
        ([("README", {}, b"")], "KEY.SUFFIX"),
        ([("a.", {}, b"")], "KEY.SUFFIX"),
        ([("a.jpg", {}, b"1"), ("a.jpg", {}, b"2")], "twice"),
        ([("a.jpg", {}, b""), ("b.jpg", {}, b""), ("a.json", {}, b"")], "two places"),
    ],
)
def test_a_foreign_member_is_refused(tmp_path, members, says):
    with pytest.raises(ValueError, match=says):
        read(crafted(tmp_path / "s.tar", *members))


@pytest.mark.parametrize("size", [b"-0000001000", b" 0000001000", b"+0000000700", b"0_000001000"])
def test_a_size_that_is_no_plain_octal_number_is_refused(tmp_path, size):
    write(tmp_path / "s.tar")
    data = bytearray((tmp_path / "s.tar").read_bytes())
    data[124:135] = size
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:BLOCK])
    (tmp_path / "s.tar").write_bytes(data)
    with pytest.raises(ValueError, match="no readable tar header at byte 0"):
        read(tmp_path / "s.tar")


def test_a_member_that_claims_more_than_there_is_is_refused(tmp_path):
    path = crafted(tmp_path / "s.tar", ("a.jpg", {}, b"x" * 5000))
    path.write_bytes(path.read_bytes()[:1024])
    with pytest.raises(ValueError, match=r"'a\.jpg' is cut at byte 1024"):
        read(path)


def test_views_outlive_the_reader(tmp_path):
    write(tmp_path / "s.tar")
    kept = list(read_shard(tmp_path / "s.tar", sha256=None, count=None))
    assert bytes(kept[0][1]["json"]) == b"{}"
    with pytest.raises(TypeError):
        kept[0][1]["json"][0] = 0


def test_an_atomic_write_replaces_the_whole_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "f.json"
    write_atomic(path, b"old and long")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["f.json"]


def test_an_atomic_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "f.json"
    write_atomic(path, b"old")
    with pytest.raises(TypeError):
        write_atomic(path, "text is no bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["f.json"]


def test_atomic_writes_of_one_file_from_many_threads_never_mix(tmp_path):
    path = tmp_path / "f.bin"
    contents = [bytes([n]) * (50_000 + n) for n in range(8)]
    failed = []

    def work(data):
        try:
            for _ in range(5):
                write_atomic(path, data)
                assert path.read_bytes() in contents
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(data,)) for data in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert os.listdir(tmp_path) == ["f.bin"]


def test_one_sample_is_read_by_its_offset_and_the_hash_checked_when_asked(tmp_path):
    path = tmp_path / "a.tar"
    with ShardWriter(path) as writer:
        for key in ("one", "two", "three"):
            writer.write(key, [("txt", key.encode() * 300)])
    assert writer.stat is not None
    for key, offset in reversed(writer.stat.offsets.items()):
        got, members = read_sample(path, offset, sha256=writer.stat.sha256)
        assert (got, bytes(members["txt"])) == (key, key.encode() * 300)
    with pytest.raises(ValueError, match="the file is damaged"):
        read_sample(path, 0, sha256="0" * 64)
    with pytest.raises(ValueError, match="no readable tar header"):
        read_sample(path, 512, sha256=None)
    with pytest.raises(ValueError, match="holds no sample at byte"):
        read_sample(path, writer.stat.size - 1024, sha256=None)
