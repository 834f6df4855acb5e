"""Quality moves the right way when one thing about the candidates changes."""

import numpy as np
import pytest

from annotators.candidate import Candidate, Provenance
from annotators.fusion import fuse
from annotators.label import Label
from annotators.masks import encode_mask
from annotators.quality import WEIGHTS, border_share, judge, largest_piece, plausible_area

SIZE = (40, 40)


def square(expert, left, *, side=12, top=10, score=0.8, stability=0.9):
    mask = np.zeros(SIZE, bool)
    mask[top : top + side, left : left + side] = True
    return Candidate(
        mask=encode_mask(mask),
        phrase=0,
        proposal=None,
        mask_score=score,
        stability=stability,
        made_by=Provenance(expert=expert),
    )


def quality(candidates, **options):
    return judge(candidates, fuse(candidates, SIZE, rule="vote"), **options)


def test_weights_add_up_to_one():
    assert sum(WEIGHTS.values()) == pytest.approx(1.0)


def test_score_falls_as_experts_drift_apart():
    scores = [quality([square("a", 10), square("b", 10 + d)]).score for d in (0, 2, 5, 9)]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == 4


def test_experts_that_abstain_cost_support():
    given = [square("a", 10), square("b", 11)]
    assert quality(given, panel_size=2).score > quality(given, panel_size=6).score


def test_a_confirmed_mask_beats_a_lonely_one():
    assert quality([square("a", 10), square("b", 10)]).score > quality([square("a", 10)]).score


@pytest.mark.parametrize("part", ["score", "stability"])
def test_confidence_and_stability_raise_the_score(part):
    low, high = ([square("a", 10, **{part: value})] for value in (0.2, 0.9))
    assert quality(high).score > quality(low).score


def test_pieces_and_border_lower_the_score():
    whole = [square("a", 10), square("b", 10)]
    apart = [square(e, x, side=6) for e in "ab" for x in (4, 24)]
    edge = [square("a", 0, top=0), square("b", 0, top=0)]
    assert quality(apart).score < quality(whole).score
    assert quality(edge).score < quality(whole).score


def test_an_empty_label_has_score_zero_and_says_who_answered():
    empty = Label(mask=np.zeros(SIZE, np.uint8), kind="binary", members=(), rule="vote")
    judged = judge([square("a", 10)], empty, panel_size=4)
    assert judged.score == 0.0
    assert dict(judged.parts)["support"] == 0.25
    assert judge([], empty).score == 0.0


def test_a_soft_label_is_judged_at_half():
    given = [square("a", 10), square("b", 12)]
    soft = judge(given, fuse(given, SIZE, rule="soft"))
    assert dict(soft.parts) == dict(quality(given).parts)


def test_a_panel_smaller_than_its_answers_is_refused():
    with pytest.raises(ValueError, match="panel of 1 experts, but 2"):
        quality([square("a", 1), square("b", 2)], panel_size=1)


def test_shape_parts_on_hand_drawn_masks():
    mask = np.zeros((4, 4), bool)
    assert largest_piece(mask) == 0.0
    mask[0, :] = True
    mask[3, 3] = True
    assert largest_piece(mask) == pytest.approx(0.8)
    assert border_share(mask) == pytest.approx(5 / 12)
    assert border_share(np.ones((1, 1), bool)) == 1.0
    assert plausible_area(0.0) == 0.0
