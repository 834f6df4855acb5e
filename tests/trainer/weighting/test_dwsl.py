"""What each weighting gives, and the contract that all of them keep."""

from pathlib import Path
from typing import get_args

import pyarrow as pa
import pytest
import torch

from pipeline.sidecar import write_sidecar
from trainer.data.table import load_table
from trainer.weighting.config import Method, WeightConfig
from trainer.weighting.dwsl import DWBC_ALPHA, DWBC_ETA, Dwsl, F, dwbc_gold
from trainer.weighting.protocol import Context, Known
from trainer.weighting.registry import make_weigher, sidecars

METHODS = get_args(Method)


def context(p: list[float], gold: list[bool]) -> Context:
    return Context(
        p_clean=torch.tensor(p),
        weight=torch.tensor(p) * 2,
        is_gold=torch.tensor(gold),
        rows=torch.arange(len(p)),
        disagree=torch.ones(len(p), dtype=torch.bool),
        progress=0.5,
    )


@pytest.fixture
def known(squares: Path) -> Known:
    """48 samples, of which no label is an issue."""
    store = load_table(squares, size_hw=(16, 24))
    table = pa.table({"sample_id": list(store.ids), "is_issue": [False] * len(store)})
    write_sidecar(squares, "confident", table)
    return Known(store=store, root=squares, seed=0, steps=100)


@pytest.mark.parametrize("method", METHODS)
def test_every_weighting_gives_one_finite_weight_a_sample_and_no_gradient(
    method: str, known: Known
):
    weigher = make_weigher(WeightConfig.model_validate({"method": method}), known)
    losses = torch.rand(weigher.peers, 4)
    weights = weigher(losses, context([0.0, 0.4, 0.6, 1.0], [False, False, True, False]))
    assert weights.shape == losses.shape
    assert weights.dtype == losses.dtype
    assert bool(torch.isfinite(weights).all())
    assert bool((weights >= 0).all())
    assert not weights.requires_grad


@pytest.mark.parametrize("name", sorted(F))
def test_f_never_falls_and_stays_finite_from_zero_to_one(name: str):
    values = F[name](torch.linspace(0, 1, 1001))
    assert bool(torch.isfinite(values).all())
    assert bool((values >= 0).all())
    assert bool((values.diff() >= 0).all())


@pytest.mark.parametrize(
    ("name", "points"),
    [
        ("identity", {0.0: 0.0, 0.3: 0.3, 1.0: 1.0}),
        ("affine", {0.0: 0.2, 1.0: 1.0}),
        ("clip", {0.0: 0.1, 1.0: 0.9}),
        ("ratio", {0.0: 1 / 9, 0.1: 1 / 9, 0.5: 1.0, 0.9: 9.0, 1.0: 9.0}),
        ("dwbc", {0.0: 0.0, 0.499: 0.0, 0.5: 1.0, 0.7: 7 / 3, 1.0: 9.0}),
    ],
)
def test_f_at_the_published_points(name: str, points: dict[float, float]):
    got = F[name](torch.tensor(list(points), dtype=torch.float64))
    assert got.tolist() == pytest.approx(list(points.values()))


def test_dwbc_gives_experts_a_positive_weight_everywhere_and_its_published_values():
    d = torch.linspace(0, 1, 101, dtype=torch.float64)
    assert bool((dwbc_gold(d) > 0).all())
    ends = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    assert dwbc_gold(ends).tolist() == pytest.approx([0.9444, 4.5, 0.9444], abs=1e-4)


def test_dwbcs_alpha_is_only_just_large_enough():
    """alpha > eta / 0.09 + 1 = 6.556 at eta = 0.5; at 6.5 an expert whom the clip reaches would count negatively."""
    worst = min(
        float(dwbc_gold(torch.tensor(d, dtype=torch.float64))) for d in (0.0, 0.1, 0.9, 1.0)
    )
    assert worst == pytest.approx(DWBC_ALPHA - (DWBC_ETA / 0.09 + 1.0))
    assert worst > 0
    assert worst - (DWBC_ALPHA - 6.5) < 0


def test_dwbc_weighs_a_machine_sample_by_its_odds_and_gold_by_its_own_rule():
    d = context([0.3, 0.5, 0.7, 0.5], [False, False, False, True])
    weights = Dwsl(f="dwbc")(torch.zeros(1, 4), d)
    assert weights[0].tolist() == pytest.approx([0.0, 1.0, 7 / 3, 4.5])


def test_gold_counts_as_a_label_that_is_clean_for_certain_whatever_the_discriminator_says():
    weights = Dwsl(f="ratio", zero_below=0.5)(torch.zeros(1, 2), context([0.2, 0.2], [True, False]))
    assert weights[0].tolist() == pytest.approx([9.0, 0.0])
    told = Dwsl(f="ratio", gold_weight=1.0)(torch.zeros(1, 2), context([0.2, 0.5], [True, False]))
    assert told[0].tolist() == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize("f", sorted(F))
def test_gold_that_is_judged_counts_as_f_has_its_own_verdict(f: str):
    """IVM's formula: the expectation of f(d) L over human and machine labels together."""
    d = [0.05, 0.3, 0.7, 0.95]
    weights = Dwsl(f=f, zero_below=0.4, gold_weight="judged")(
        torch.zeros(1, 4), context(d, [True] * 4)
    )
    assert torch.equal(weights[0], F[f](torch.tensor(d)))


def test_a_constant_belief_weighs_all_machine_samples_alike():
    for f in F:
        weights = Dwsl(f=f)(torch.rand(1, 5), context([0.6] * 5, [False] * 5))
        assert bool((weights == weights[0, 0]).all())


def test_an_unknown_f_names_the_known_ones():
    with pytest.raises(ValueError, match="did you mean 'ratio'"):
        Dwsl(f="ration")


def test_a_label_that_is_not_believed_counts_as_its_correction_does_and_gold_never():
    weigher = Dwsl(f="identity", zero_below=0.6, corrected=0.5)
    weights = weigher(
        torch.zeros(1, 4), context([0.1, 0.59, 0.6, 0.1], [False, False, False, True])
    )
    assert weights[0].tolist() == pytest.approx([0.5, 0.5, 0.6, 1.0])


def test_what_a_training_reads_follows_from_its_weighting():
    def of(**weight: object) -> tuple[str, ...]:
        return sidecars(WeightConfig.model_validate(weight), weights="w")

    assert of(method="dwsl", zero_below=0.6) == ("w",)
    assert of(method="dwsl", zero_below=0.6, correct=0.5) == ("w", "w_guesses")
    assert of(method="joint", correct=0.5) == of(method="uniform", correct=0.5) == ()
    assert of(method="given") == ("w",)
    assert of(method="confident") == ("confident",)
