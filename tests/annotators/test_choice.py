"""Choosing one label: the incumbent stays unless another is clearly better, and nothing is mixed."""

import numpy as np
import pytest

from annotators.candidate import Candidate, Provenance
from annotators.choice import choose, incumbent, options_of, worth
from annotators.label import Label, Quality
from annotators.masks import encode_mask
from annotators.protocols import Verdict


def candidate(expert, *rows):
    mask = np.zeros((4, 5), bool)
    mask[list(rows)] = True
    made_by = Provenance(expert=expert)
    return Candidate(
        mask=encode_mask(mask), phrase=0, proposal=None, mask_score=0.5, stability=1.0, made_by=made_by
    )  # fmt: skip


def label(grey):
    return Label(mask=np.full((4, 5), grey, np.uint8), kind="soft", members=(), rule="soft")


@pytest.mark.parametrize(
    ("worths", "margin", "taken"),
    [
        ([0.5], 0.0, 0),
        ([0.5, 0.6], 0.2, 0),
        ([0.5, 0.71], 0.2, 1),
        ([0.5, 0.5], 0.0, 0),
        ([0.1, 0.8, 0.9, 0.9], 0.0, 2),
        ([0.0, 1.0], 1.0, 0),
        ([None, 0.9], 0.0, 0),
        ([0.2, None, 0.9], 0.1, 2),
        ([None, None], 0.0, 0),
    ],
)
def test_another_must_beat_the_incumbent_by_the_margin(worths, margin, taken):
    assert choose(worths, margin=margin) == taken


def test_every_voter_is_an_option_and_equal_masks_are_one():
    found = options_of([candidate("a", 0), candidate("b", 1), candidate("c", 0)], (4, 5))
    assert [(v.expert, v.members) for v in found] == [("a", (0,)), ("b", (1,))]
    assert options_of([], (4, 5)) == []


def test_what_judges_think_is_the_mean_of_what_they_say():
    said = [Verdict(validity=1.0, exhaustivity=0.5), Verdict(validity=0.25, exhaustivity=0.25)]
    assert worth(said) == 0.5
    assert worth([]) is None


def test_an_old_label_is_a_candidate_that_says_what_it_was():
    (one,) = incumbent(label(128), Quality(score=0.75, parts=(), rule="agreement"))
    assert (one.made_by.expert, one.made_by.model) == ("label", "soft")
    assert (one.mask_score, one.mask.area()) == (0.75, 20)
    assert incumbent(label(128), None)[0].mask_score == 0.5
    assert incumbent(label(127), None) == ()
