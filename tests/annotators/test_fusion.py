"""Fusion rules on hand-drawn masks."""

import numpy as np
import pytest

from annotators.candidate import Candidate, Provenance
from annotators.fusion import fuse
from annotators.masks import encode_mask
from annotators.votes import votes_of

RULES = ["best", "vote", "soft", "staple"]
SIZE = (6, 8)


def candidate(expert, columns, *, score=0.8, stability=1.0, size=SIZE, config_hash=""):
    mask = np.zeros(size, bool)
    mask[:, list(columns)] = True
    return Candidate(
        mask=encode_mask(mask),
        phrase=0,
        proposal=None,
        mask_score=score,
        stability=stability,
        made_by=Provenance(expert=expert, config_hash=config_hash),
    )


def columns(label):
    return sorted({int(x) for x in np.flatnonzero((label.mask >= 128).any(axis=0))})


@pytest.mark.parametrize("rule", RULES)
def test_no_candidates_make_an_empty_label(rule):
    label = fuse([], SIZE, rule=rule)
    assert label.mask.shape == SIZE
    assert (label.members, label.area, label.box, label.rule) == ((), 0, None, rule)


@pytest.mark.parametrize("rule", RULES)
def test_a_single_candidate_is_the_label(rule):
    only = candidate("a", [1, 2], score=0.1, stability=0.3)
    label = fuse([only], SIZE, rule=rule)
    assert ((label.mask == 255) == only.mask.array()).all()
    assert label.members == (0,)


@pytest.mark.parametrize("rule", RULES)
def test_only_empty_masks_make_a_label_without_members(rule):
    label = fuse([candidate("a", []), candidate("b", [])], SIZE, rule=rule)
    assert (label.area, label.members) == (0, ())


@pytest.mark.parametrize("rule", RULES)
def test_the_same_candidates_give_the_same_bytes(rule):
    given = [candidate("a", [1, 2]), candidate("b", [2, 3]), candidate("c", [2])]
    first, second = fuse(given, SIZE, rule=rule), fuse(list(given), SIZE, rule=rule)
    assert first.mask.tobytes() == second.mask.tobytes()
    assert first.members == second.members


def test_best_takes_score_times_stability_and_the_earlier_of_equals():
    given = [
        candidate("a", [1], score=0.9, stability=0.5),
        candidate("b", [2], score=0.6),
        candidate("c", [3], score=0.6),
    ]
    label = fuse(given, SIZE, rule="best")
    assert (columns(label), label.members) == ([2], (1,))


def test_vote_keeps_what_the_majority_marks():
    given = [candidate("a", [1, 2]), candidate("b", [2, 3]), candidate("c", [2, 3, 4])]
    assert columns(fuse(given, SIZE, rule="vote")) == [2, 3]
    assert columns(fuse(given, SIZE, rule="vote", threshold=1.0)) == [2]
    assert columns(fuse(given, SIZE, rule="vote", threshold=0.0)) == [1, 2, 3, 4]


def test_an_expert_with_many_candidates_has_one_vote():
    many = [candidate("a", [5]) for _ in range(4)]
    given = [*many, candidate("b", [2]), candidate("c", [2])]
    assert columns(fuse(given, SIZE, rule="vote", threshold=0.6)) == [2]


def test_a_vote_unites_strong_candidates_and_drops_the_tail():
    given = [
        candidate("a", [1], score=0.9),
        candidate("a", [3], score=0.8),
        candidate("a", [5], score=0.2),
    ]
    (vote,) = votes_of(given, SIZE)
    assert vote.members == (0, 1)
    assert vote.mask.any(axis=0).nonzero()[0].tolist() == [1, 3]


def test_one_expert_with_two_configurations_has_two_votes():
    given = [candidate("a", [1], config_hash="x"), candidate("a", [2], config_hash="y")]
    assert len(votes_of(given, SIZE)) == 2


def test_soft_keeps_grey_levels_and_saturates_on_request():
    given = [candidate("a", [1, 2, 3]), candidate("b", [2, 3]), candidate("c", [3])]
    assert fuse(given, SIZE, rule="soft").mask[0, :5].tolist() == [0, 85, 170, 255, 0]
    saturated = fuse(given, SIZE, rule="soft", saturate=True)
    assert saturated.mask[0, :5].tolist() == [0, 128, 255, 255, 0]
    assert saturated.kind == "soft"


def test_staple_overrules_the_odd_one_out():
    given = [candidate("a", [2, 3]), candidate("b", [2, 3]), candidate("c", [6])]
    assert columns(fuse(given, SIZE, rule="staple")) == [2, 3]


def test_reliability_turns_a_vote_and_a_choice():
    given = [candidate("a", [1]), candidate("b", [2])]
    trust = {"a": 0.2}
    assert columns(fuse(given, SIZE, rule="best", reliabilities=trust)) == [2]
    assert columns(fuse(given, SIZE, rule="vote", threshold=0.6, reliabilities=trust)) == [2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rule": "mean"}, "unknown fusion rule: 'mean'"),
        ({"threshold": 1.5}, "expected a number in"),
        ({"reliabilities": {"a": 0.0}}, "reliability of expert 'a'"),
    ],
)
def test_bad_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        fuse([candidate("a", [1])], SIZE, **({"rule": "vote"} | change))


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(ValueError, match="expected \\(6, 8\\)"):
        fuse([candidate("a", [1], size=(6, 9))], SIZE, rule="vote")
