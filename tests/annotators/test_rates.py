"""Rates as a recipe holds them."""

import pytest

from annotators.rates import Rates, essence, mean_rates, read_reliability

ROW = {"sensitivity": 0.7, "specificity": 0.9, "coverage": 1.0, "true_sensitivity": None}
TABLE = {
    "kind": "reliability",
    "overall": {"a@x": ROW},
    "styles": {"all": {"a@x": {**ROW, "sensitivity": 0.6}}},
    "samples": 12,
}


def test_a_style_has_its_own_rates_and_an_unknown_one_those_of_all():
    learnt = read_reliability(TABLE)
    assert learnt.of("all")["a@x"] == Rates(sensitivity=0.6, specificity=0.9)
    assert learnt.of("question")["a@x"] == Rates(sensitivity=0.7, specificity=0.9)


def test_the_essence_is_the_rates_alone_and_its_own_essence():
    kept = essence(TABLE)
    assert kept["overall"] == {"a@x": {"sensitivity": 0.7, "specificity": 0.9}}
    assert set(kept) == {"kind", "overall", "styles"}
    assert essence(kept) == kept


def test_the_mean_stands_for_who_is_not_known_and_a_guess_for_nobody():
    two = [Rates(sensitivity=0.4, specificity=1.0), Rates(sensitivity=0.8, specificity=0.6)]
    assert mean_rates(two).sensitivity == pytest.approx(0.6)
    assert mean_rates(two).specificity == pytest.approx(0.8)
    assert mean_rates([]) == Rates(sensitivity=0.9, specificity=0.9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "calibration"}, "of kind 'calibration'; expected sidecars/reliability.json"),
        ({"overall": {"a": {**ROW, "sensitivity": 1.2}}}, "rates of 'a' are"),
        ({"styles": []}, "no table of `maskmix calibrate`"),
        ({"overall": {"a": {}}}, "no table of `maskmix calibrate`"),
    ],
)
def test_a_table_that_is_none_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        read_reliability({**TABLE, **change})
