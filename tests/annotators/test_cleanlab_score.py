"""The baseline beside ours: does it rise where the panel agrees with the label?"""

import numpy as np
import pytest

from annotators.cleanlab_score import cleanlab_score, has_cleanlab
from annotators.votes import Vote

pytestmark = pytest.mark.slow  # importing cleanlab takes a second


def vote(expert, left):
    mask = np.zeros((20, 30), bool)
    mask[5:15, left : left + 10] = True
    return Vote(expert=expert, voter=expert, members=(0,), mask=mask, score=0.5, stability=0.5)


def test_it_falls_as_the_panel_drifts_from_the_label():
    assert has_cleanlab()
    label = vote("label", 5).mask
    scores = [cleanlab_score([vote("a", 5), vote("b", 5 + d)], label) for d in (0, 3, 9)]
    assert scores[0] == pytest.approx(1.0)
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == 3


def test_without_votes_every_pixel_is_background():
    assert cleanlab_score([], np.zeros((4, 5), bool)) == pytest.approx(1.0)
    assert cleanlab_score([], np.ones((4, 5), bool)) == pytest.approx(0.0)
