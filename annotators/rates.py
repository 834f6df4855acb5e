"""Sensitivity and specificity of experts as plain numbers: what `annotators.reliability` learns and fusion is told.

A recipe holds them as they are, so its hash names every number that decides a label.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

KIND = "reliability"
START = 0.9
"""Sensitivity and specificity of an expert that nothing is known of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Chance to mark a true pixel (`sensitivity`) and to leave out a false one (`specificity`), in [0, 1]."""

    sensitivity: float
    specificity: float


def mean_rates(rates: Iterable[Rates]) -> Rates:
    """The mean of `rates`, which stands for an expert that nothing was learnt of; `START` when there are none."""
    known = list(rates) or [Rates(sensitivity=START, specificity=START)]
    return Rates(
        sensitivity=sum(r.sensitivity for r in known) / len(known),
        specificity=sum(r.specificity for r in known) / len(known),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """Rates by voter, over all samples and by style, as a recipe holds them."""

    overall: Mapping[str, Rates]
    styles: Mapping[str, Mapping[str, Rates]]

    def of(self, style: str) -> Mapping[str, Rates]:
        """The rates of a style; those over all samples for one that was not learnt."""
        return self.styles.get(style, self.overall)


def read_reliability(table: Mapping[str, Any]) -> Reliability:
    """What `essence` keeps, as an object.

    Raises:
        ValueError: the table is not one of reliabilities, or a rate is no number in [0, 1].
    """
    if table.get("kind") != KIND:
        raise ValueError(f"it is of kind {table.get('kind')!r}; expected sidecars/reliability.json")
    try:
        return Reliability(
            overall=_rates_of(table["overall"]),
            styles={str(style): _rates_of(mine) for style, mine in table["styles"].items()},
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it is no table of `maskmix calibrate`: {error!r}") from error


def essence(table: Mapping[str, Any]) -> dict[str, Any]:
    """Of reliability.json what decides a label: the rates; the rest is for reading.

    Raises:
        ValueError: the table is not one of reliabilities.
    """
    learnt = read_reliability(table)

    def plain(rates: Mapping[str, Rates]) -> dict[str, dict[str, float]]:
        return {
            voter: {"sensitivity": r.sensitivity, "specificity": r.specificity}
            for voter, r in sorted(rates.items())
        }

    styles = {style: plain(rates) for style, rates in sorted(learnt.styles.items())}
    return {"kind": KIND, "overall": plain(learnt.overall), "styles": styles}


def _rates_of(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Rates]:
    found: dict[str, Rates] = {}
    for voter, row in rows.items():
        rates = Rates(sensitivity=float(row["sensitivity"]), specificity=float(row["specificity"]))
        if not 0 <= rates.sensitivity <= 1 or not 0 <= rates.specificity <= 1:
            raise ValueError(f"rates of {voter!r} are {rates}; expected numbers in [0, 1]")
        found[str(voter)] = rates
    return found
