"""The order of an endless stream of samples: a pure function of (key, epoch, lanes, window), so nothing is remembered.

An epoch is made so: the samples of each shard are shuffled, the shards are shuffled and laid end to end, and that line
is cut into `lanes` stretches as even as can be. So each sample comes exactly once an epoch whatever the shards hold,
and a lane has shards of its own but for those at the cuts. Within a lane samples are shuffled among `window`
neighbouring shards: a reader has few shards open, and a dataset of few shards is shuffled as a whole. Position p of
the stream, counted over all epochs, takes the next sample of lane p % lanes; a process that makes every w-th position
(w divides the lanes) reads its own lanes alone, and however many such processes there are, the stream is the same.

Workers of a loader take whole steps in turn (trainer.data.loader), never shards of their own: then the sequence would
depend on how many there are, and a run could not be continued with another number.

Memory and time for a million samples: 12 bytes a sample stay, 8 more for each of at most two epochs, about 100 while an
epoch is made; making it takes about a second, once an epoch in each process.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
KEPT = 2
"""Epochs whose order is kept: a batch may reach over the end of one."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stream:
    """`rows` (int64 n, of a dataset) over and over, each epoch in another order.

    shard_of: int n, the shard of each of `rows`. key: what the order is drawn from, with the epoch. lanes, window: see
    above.
    """

    rows: Indices
    shard_of: NDArray[np.int32]
    key: tuple[int, ...]
    lanes: int = 1
    window: int = 1
    _epochs: dict[int, Indices] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        assert len(self.rows) == len(self.shard_of) > 0, (self.rows.shape, self.shard_of.shape)

    def at(self, start: int, count: int) -> Indices:
        """The rows at positions start .. start + count - 1 of the endless stream."""
        n, picked, end = len(self.rows), [], start + count
        while start < end:
            epoch, place = divmod(start, n)
            picked.append(self._epoch(epoch)[place : place + end - start])
            start += len(picked[-1])
        return np.concatenate(picked) if picked else np.empty(0, np.int64)

    def _epoch(self, epoch: int) -> Indices:
        if epoch not in self._epochs:
            while len(self._epochs) >= KEPT:
                del self._epochs[next(iter(self._epochs))]
            order = epoch_order(
                self.shard_of, key=self.key, epoch=epoch, lanes=self.lanes, window=self.window
            )
            self._epochs[epoch] = self.rows[order]
        return self._epochs[epoch]


def epoch_order(
    shard_of: NDArray[np.int32], *, key: Sequence[int], epoch: int, lanes: int, window: int
) -> Indices:
    """The order of n samples in one epoch: a permutation of 0 .. n - 1.

    Args:
        shard_of: int n, the shard of each sample.
        key: numbers >= 0 that the order is drawn from, with `epoch`.
        epoch: counted from 0.
        lanes: streams of their own; position p of the epoch belongs to lane (epoch * n + p) % lanes.
        window: how many neighbouring shards of a lane are shuffled together.
    """
    n = len(shard_of)
    rng = np.random.default_rng([*key, epoch])
    shuffled = rng.permutation(n)
    shards, ranked = np.unique(shard_of, return_inverse=True)
    place = rng.permutation(len(shards))[ranked]
    line = shuffled[np.argsort(place[shuffled], kind="stable")]
    starts = [(lane - epoch * n) % lanes for lane in range(lanes)]  # each lane's first position
    quotas = [len(range(start, n, lanes)) for start in starts]
    line = line[_mixed(place[line], quotas, window, rng)]
    order = np.empty(n, np.int64)
    for start, stretch in zip(starts, np.split(line, np.cumsum(quotas)[:-1]), strict=True):
        order[start::lanes] = stretch
    return order


def _mixed(
    shard_at: Indices, quotas: Sequence[int], window: int, rng: np.random.Generator
) -> Indices:
    """Indices into a line (the shard at each place) that shuffle each lane within windows of `window` shards."""
    n = len(shard_at)
    new_shard = np.ones(n, bool)
    new_shard[1:] = shard_at[1:] != shard_at[:-1]
    lane = np.repeat(np.arange(len(quotas)), quotas)
    new_lane = np.ones(n, bool)
    new_lane[1:] = lane[1:] != lane[:-1]
    piece = np.cumsum(new_shard | new_lane)
    first = np.zeros(len(quotas), np.int64)
    first[lane[new_lane]] = piece[new_lane]
    in_lane = piece - first[lane]
    group = np.cumsum(new_lane | ((in_lane % window == 0) & new_shard))
    shuffled = rng.permutation(n)
    return shuffled[np.argsort(group[shuffled], kind="stable")]
