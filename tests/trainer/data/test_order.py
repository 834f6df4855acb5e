"""The order of an epoch: each sample once, whatever the shards, lanes and batches; and lanes keep to their shards."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.order import Stream, epoch_order

SHARDS = st.lists(st.integers(1, 9), min_size=1, max_size=9)


def shard_of(sizes: list[int]) -> np.ndarray:
    return np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)


@given(SHARDS, st.integers(0, 5), st.integers(1, 9), st.integers(1, 4))
def test_an_epoch_has_every_sample_exactly_once(sizes, epoch, lanes, window):
    order = epoch_order(shard_of(sizes), key=(0,), epoch=epoch, lanes=lanes, window=window)
    assert sorted(order.tolist()) == list(range(sum(sizes)))


@given(SHARDS, st.integers(0, 3), st.integers(1, 9))
def test_lanes_share_a_shard_only_where_the_line_is_cut(sizes, epoch, lanes):
    shards = shard_of(sizes)
    order = epoch_order(shards, key=(0,), epoch=epoch, lanes=lanes, window=2)
    lane = (epoch * len(order) + np.arange(len(order))) % lanes
    held = set(zip(shards[order].tolist(), lane.tolist(), strict=True))
    assert len(held) <= len(sizes) + lanes - 1


@given(SHARDS, st.integers(1, 6), st.integers(1, 7), st.integers(0, 4))
def test_steps_of_any_size_walk_through_whole_epochs(sizes, lanes, batch, seed):
    n = sum(sizes)
    rows = np.arange(100, 100 + n)
    stream = Stream(rows=rows, shard_of=shard_of(sizes), key=(seed,), lanes=lanes, window=2)
    walked = np.concatenate([stream.at(step * batch, batch) for step in range(3 * n)])
    for epoch in range(len(walked) // n):
        assert sorted(walked[epoch * n : (epoch + 1) * n].tolist()) == rows.tolist()


@given(st.integers(0, 400), st.integers(0, 100))
def test_any_position_can_be_asked_for_first(start, count):
    def stream() -> Stream:
        return Stream(rows=np.arange(30), shard_of=shard_of([7, 3, 20]), key=(1,), lanes=4)

    whole = stream().at(0, 500)
    assert stream().at(start, count).tolist() == whole[start : start + count].tolist()


def test_a_lane_walks_through_a_window_of_shards_at_a_time():
    shards = shard_of([10] * 12)
    order = epoch_order(shards, key=(0,), epoch=0, lanes=2, window=3)
    for lane in range(2):
        walked = shards[order[lane::2]].reshape(2, 30)
        assert [len(set(window.tolist())) for window in walked] == [3, 3]
        assert not set(walked[0].tolist()) & set(walked[1].tolist())
        assert (np.diff(walked[0]) != 0).sum() > 10  # mixed, not one shard after the other


def test_few_shards_are_shuffled_as_a_whole():
    places = np.zeros((20, 20))
    for epoch in range(2000):
        order = epoch_order(shard_of([5, 15]), key=(3,), epoch=epoch, lanes=1, window=2)
        places[np.arange(20), order] += 1
    assert places.min() > 50  # each sample at each place, about a hundred times
    assert places.max() < 160


@pytest.mark.parametrize("change", [{"epoch": 1}, {"key": (1, 0)}, {"key": (0, 1)}])
def test_epochs_seeds_and_streams_have_orders_of_their_own(change):
    same = {"key": (0, 0), "epoch": 0, "lanes": 2, "window": 2}
    first = epoch_order(shard_of([10, 20, 5]), **same)
    assert np.array_equal(first, epoch_order(shard_of([10, 20, 5]), **same))
    assert not np.array_equal(first, epoch_order(shard_of([10, 20, 5]), **{**same, **change}))
