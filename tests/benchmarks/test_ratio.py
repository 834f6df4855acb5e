"""The harness tells faster from slower, and refuses comparisons that compare nothing."""

import hashlib
import subprocess
import sys
import time

import pytest

from benchmarks.made_samples import encode_all, make_samples, write_dataset
from benchmarks.process_tree import TreeClock
from benchmarks.ratio import compare, require
from pipeline.reader import iterate_samples


def spin(milliseconds):
    end = time.process_time() + milliseconds / 1000
    while time.process_time() < end:
        pass
    return "done"


def measured(ours, peer, *, target=3.0, same=lambda a, b: a == b, peer_name="numpy"):
    return compare(
        "spin", ours=ours, peer=peer, peer_name=peer_name, same=same, target=target, units=1, rounds=3
    )  # fmt: skip


@pytest.mark.slow
def test_a_slower_peer_gives_its_ratio(capsys):
    assert measured(lambda: spin(4), lambda: spin(16))
    said = capsys.readouterr().out
    low, median, high = (float(v) for v in said.split("CPU ratio")[1].split()[:3])
    assert low <= median <= high
    assert median == pytest.approx(4, rel=0.3)
    assert "target 3: reached" in said
    assert "load average" in said


@pytest.mark.slow
def test_a_peer_that_does_a_share_of_the_work_is_counted_for_all_of_it(capsys):
    assert compare(
        "spin", ours=lambda: spin(20), peer=lambda: spin(20), peer_name="numpy",
        same=lambda a, b: a == b, target=3.0, units=1, rounds=3, peer_share=0.25,
    )  # fmt: skip
    said = capsys.readouterr().out
    assert float(said.split("CPU ratio")[1].split()[1]) == pytest.approx(4, rel=0.3)
    assert "did 25% of the work" in said


@pytest.mark.slow
def test_a_missed_target_is_said(capsys):
    assert not measured(lambda: spin(8), lambda: spin(8))
    assert "target 3: MISSED" in capsys.readouterr().out


@pytest.mark.slow
def test_unequal_answers_are_no_comparison():
    with pytest.raises(AssertionError, match="ours and numpy differ"):
        measured(lambda: 1, lambda: 2)


def test_a_missing_peer_stops_the_benchmark():
    with pytest.raises(SystemExit, match="needs its peer 'no-such-peer'"):
        require("no-such-peer")
    with pytest.raises(SystemExit, match="no-such-peer"):
        measured(lambda: 1, lambda: 1, peer_name="no-such-peer")


def test_the_tree_clock_counts_children_that_are_gone():
    code = "import time\nend = time.process_time() + 0.4\nwhile time.process_time() < end: pass"
    with TreeClock() as clock:
        before = clock.seconds()
        subprocess.run([sys.executable, "-S", "-c", code], check=True)
        spent = clock.seconds() - before
    assert 0.2 < spent < 2.0


def test_made_samples_are_the_same_every_time_and_make_a_dataset(tmp_path):
    first, second = encode_all(make_samples(3)), encode_all(make_samples(3))
    assert first == second
    assert len({hashlib.sha256(members[0][1]).hexdigest() for _, members in first}) == 3
    write_dataset(tmp_path, first, per_shard=2)
    assert [s.id for s in iterate_samples(tmp_path)] == [key for key, _ in first]
