"""Fusion rules on hand-drawn masks."""

from dataclasses import replace

import numpy as np
import pytest

from annotators.candidate import Candidate, Provenance, expert_key
from annotators.fusion import fuse
from annotators.halt import Halt
from annotators.masks import encode_mask
from annotators.rates import Rates, mean_rates
from annotators.votes import votes_of

RULES = ["best", "vote", "soft", "staple", "cluster"]
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


def test_instances_that_two_experts_found_stay_and_the_rest_of_each_goes():
    """Three mugs, each found by two of three experts, and a fault of each: a vote over unions keeps the mugs only."""
    wide = (6, 40)
    finds = {"a": ([1, 2, 3, 4], [11, 12, 13, 14], [30, 31]), "b": ([1, 2, 3, 4], [21, 22, 23, 24], [36, 37]),
             "c": ([11, 12, 13, 14], [21, 22, 23, 24], [8])}  # fmt: skip
    given = [candidate(e, x, size=wide) for e, things in finds.items() for x in things]
    label = fuse(given, wide, rule="cluster", threshold=0.6)
    assert columns(label) == [1, 2, 3, 4, 11, 12, 13, 14, 21, 22, 23, 24]
    assert label.members == (0, 1, 3, 4, 6, 7)


def test_a_weak_find_that_another_confirms_counts_as_an_instance_though_a_vote_drops_it():
    finds = {"a": [1, 2], "b": [1, 2], "c": [1, 2]}
    given = [candidate(e, x, score=0.9) for e, x in finds.items()]
    given += [candidate(e, [5, 6], score=0.3) for e in "ab"]
    assert columns(fuse(given, SIZE, rule="vote")) == [1, 2]
    assert columns(fuse(given, SIZE, rule="cluster")) == [1, 2, 5, 6]


def test_inside_an_instance_pixels_are_voted_on():
    given = [candidate("a", [1, 2, 3]), candidate("b", [2, 3, 4]), candidate("c", [2, 3])]
    assert columns(fuse(given, SIZE, rule="cluster")) == [2, 3]


def test_without_confirmation_the_best_supported_instance_is_the_label():
    given = [
        candidate("a", [0], score=0.5),
        candidate("b", [3], score=0.9),
        candidate("c", [6], score=0.7),
    ]
    label = fuse(given, SIZE, rule="cluster", threshold=0.6)
    assert (columns(label), label.members) == ([3], (1,))
    trusted = fuse(given, SIZE, rule="cluster", threshold=0.9, reliabilities={"b": 0.1, "c": 0.2})
    assert columns(trusted) == [0]


def test_an_instance_counts_an_expert_once_however_often_it_drew_it():
    given = [candidate("a", [2, 3]) for _ in range(5)] + [candidate(e, [6]) for e in "bcd"]
    assert columns(fuse(given, SIZE, rule="cluster", threshold=0.5)) == [6]


def test_trust_may_name_one_configuration_or_all_of_an_expert():
    given = [candidate("a", [1], config_hash="x"), candidate("b", [2], config_hash="y")]
    assert columns(fuse(given, SIZE, rule="best", reliabilities={"a@x": 0.2})) == [2]
    assert columns(fuse(given, SIZE, rule="best", reliabilities={"a@other": 0.2})) == [1]
    assert columns(fuse(given, SIZE, rule="best", reliabilities={"a": 0.2, "a@x": 1.0})) == [1]


def test_a_voter_is_named_by_expert_and_configuration_and_by_its_model_without_one():
    assert expert_key(Provenance(expert="a", model="m", config_hash="x")) == "a@x"
    assert expert_key(Provenance(expert="a", model="m")) == "a@m"
    assert expert_key(Provenance(expert="a")) == "a"


def test_one_segmenter_behind_two_grounders_has_two_votes():
    given = [
        replace(candidate("sam", [1, 2], config_hash="s"), boxed_by="dino@1"),
        replace(candidate("sam", [1], config_hash="s"), boxed_by="owl@2"),
        candidate("clip", [3], config_hash="c"),
    ]
    assert [vote.voter for vote in votes_of(given, SIZE)] == [
        "sam@s<dino@1",
        "sam@s<owl@2",
        "clip@c",
    ]
    assert columns(fuse(given, SIZE, rule="vote", threshold=0.6)) == [1]


GOOD, POOR = Rates(sensitivity=0.9, specificity=0.95), Rates(sensitivity=0.5, specificity=0.55)


def test_with_learnt_rates_one_good_expert_outweighs_two_poor_ones():
    given = [candidate("a", [2, 3]), candidate("b", [3, 5]), candidate("c", [3, 6])]
    assert columns(fuse(given, SIZE, rule="vote")) == [3]
    rates = {"a": GOOD, "b": POOR, "c": POOR}
    assert columns(fuse(given, SIZE, rule="staple", learnt=rates)) == [2, 3]
    rates = {"a": POOR, "b": GOOD, "c": POOR}
    assert columns(fuse(given, SIZE, rule="staple", learnt=rates)) == [3, 5]


def test_an_expert_that_nothing_was_learnt_of_counts_as_the_mean():
    given = [candidate("a", [2, 3]), candidate("new", [3, 5])]
    alone = fuse(given, SIZE, rule="staple", learnt={"a": GOOD, "b": POOR})
    mean = mean_rates([GOOD, POOR])
    said = fuse(given, SIZE, rule="staple", learnt={"a": GOOD, "b": POOR, "new": mean})
    assert alone.mask.tobytes() == said.mask.tobytes()
    assert columns(alone) == [2, 3]


def test_rates_of_another_panel_stop_the_build():
    given = [candidate("a", [1]), candidate("b", [2])]
    with pytest.raises(Halt, match=r"know none of a, b; they know c: run `maskmix calibrate`"):
        fuse(given, SIZE, rule="staple", learnt={"c": GOOD})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rule": "vote", "saturate": True}, "saturate with rule 'vote'"),
        ({"rule": "soft", "learnt": {"a": GOOD}}, "learnt reliabilities with rule 'soft'"),
    ],
)
def test_an_option_of_another_rule_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        fuse([candidate("a", [1])], SIZE, **change)
