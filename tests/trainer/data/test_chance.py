"""Chance by hashing: uniform, independent of company, and the same for ever."""

import numpy as np
import torch

from trainer.data.chance import keys, uniform


def reference(key: int, count: int, stream: int = 0) -> list[float]:
    """SplitMix64 in Python's unbounded integers."""
    wrap = (1 << 64) - 1

    def mixed(x: int) -> int:
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & wrap
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & wrap
        return x ^ (x >> 31)

    step = 0x9E3779B97F4A7C15
    start = mixed((key + step * (stream + 1)) & wrap)
    return [(mixed((start + step * i) & wrap) >> 40) / 2**24 for i in range(1, count + 1)]


def test_numbers_are_those_of_splitmix64():
    given = keys(2**62 + 12345, range(5))
    for stream in (0, 3):
        found = uniform(given, 7, stream=stream)
        wanted = [reference(int(key) % 2**64, 7, stream) for key in given]
        assert found.tolist() == wanted


def test_a_sample_has_its_chance_whoever_shares_its_batch():
    whole = keys(7, range(8))
    assert torch.equal(keys(7, range(1, 8, 2)), whole[1::2])
    assert torch.equal(uniform(whole, 9)[3:4], uniform(whole[3:4], 9))
    assert torch.equal(uniform(whole, 9)[:, :4], uniform(whole, 4))
    assert not torch.equal(uniform(whole, 9), uniform(keys(8, range(8)), 9))
    assert not torch.equal(uniform(whole, 9), uniform(whole, 9, stream=1))


def test_numbers_are_uniform_and_uncorrelated():
    u = uniform(keys(0, range(500)), 400).numpy()
    assert u.min() >= 0
    assert u.max() < 1
    counts = np.histogram(u, 20, (0, 1))[0]
    assert abs(counts / 10_000 - 1).max() < 0.05
    along, across = u[:, :-1].ravel(), u[:, 1:].ravel()
    assert abs(np.corrcoef(along, across)[0, 1]) < 0.01
    assert abs(np.corrcoef(u[:-1].ravel(), u[1:].ravel())[0, 1]) < 0.01
    assert abs(u.mean(0) - 0.5).max() < 0.08
