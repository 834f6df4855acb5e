"""The benchmark's own side: what it measures must be right before it may be fast."""

import numpy as np
import pytest

from benchmarks.label_model import POSITIVE, chances, votes_and_truth


def test_chances_beat_the_majority_and_silence_is_the_prior():
    votes, truth = votes_and_truth()
    votes, truth = votes[:4000], truth[:4000]
    votes[0] = -1
    chance = chances(votes)
    share = (votes == 1).sum(axis=1) / np.maximum((votes >= 0).sum(axis=1), 1)
    assert ((chance >= 0.5) == truth).mean() > ((share >= 0.5) == truth).mean() + 0.02
    assert chance[0] == pytest.approx(POSITIVE)
    bins = [(chance > lo) & (chance <= lo + 0.25) for lo in (0.0, 0.25, 0.5, 0.75)]
    for mine in bins:
        assert abs(chance[mine].mean() - truth[mine].mean()) < 0.06
