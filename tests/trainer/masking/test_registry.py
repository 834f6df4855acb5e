"""Every masking that a recipe can ask for keeps the promises of the protocol."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from tests.trainer.objectives.test_no_host_reads import Refuse
from trainer.data.chance import keys
from trainer.masking.config import MaskingConfig
from trainer.masking.protocol import Patches
from trainer.masking.registry import MASKINGS, make_masking

CASES: dict[str, dict[str, Any]] = {
    "uniform": {},
    "salience": {},
    "published": {"kind": "salience", "normalised": False},
    "adaptive": {"kind": "salience", "adaptive": "image", "spread": 0.2},
    "adaptive-batch": {"kind": "salience", "adaptive": "batch", "spread": 0.2},
    "threshold": {},
    "rf-gam": {},
    "rf-gam-products": {"kind": "rf-gam", "normalised": False, "sigma": 0.5},
    "coloured": {},
    "red": {"kind": "coloured", "colour": "red"},
    "blue": {"kind": "coloured", "colour": "blue"},
    "purple": {"kind": "coloured", "colour": "purple"},
    "loss-guided": {"guided_start": 0.5},
}
EACH = {
    name: MaskingConfig(**{"kind": name, "ratio": 0.6, **options})
    for name, options in CASES.items()
}
OWN = [name for name in CASES if name != "adaptive-batch"]
"""Maskings in which a sample's patches hang on that sample alone."""


def asked(b: int = 6, *, seed: int = 0) -> Patches:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(b, 40, 12, generator=generator).cumsum(1) / 4
    losses = torch.rand(b, 40, generator=generator)
    return Patches(
        tokens=tokens, grid_hw=(5, 8), chance=keys(seed, range(b)), progress=0.5, losses=losses
    )


def rows(patches: Patches, own: slice) -> Patches:
    assert patches.losses is not None
    return replace(
        patches,
        tokens=patches.tokens[own],
        chance=patches.chance[own],
        losses=patches.losses[own],
    )


def test_every_masking_of_the_registry_is_tried():
    assert {config.kind for config in EACH.values()} == set(MASKINGS)


@pytest.mark.parametrize("name", EACH)
def test_a_masking_hides_as_many_as_it_said_it_would(name: str):
    masking = make_masking(EACH[name])
    fewest, most = masking.bounds(40)
    hidden = masking(asked(100))
    assert hidden.dtype == torch.bool
    counts = hidden.sum(1)
    assert 1 <= fewest <= int(counts.min())
    assert int(counts.max()) <= most < 40
    assert fewest < most or fewest == 24
    blank = replace(asked(3), tokens=torch.ones(3, 40, 12))
    counts = masking(blank).sum(1)
    assert fewest <= int(counts.min()) <= int(counts.max()) <= most


@pytest.mark.parametrize("name", OWN)
def test_what_a_sample_hides_hangs_on_no_other_sample_and_not_on_its_place(name: str):
    masking, patches = make_masking(EACH[name]), asked()
    whole = masking(patches)
    assert torch.equal(masking(rows(patches, slice(4, 5)))[0], whole[4])
    dealt = torch.stack(
        [masking(rows(patches, slice(rank, None, 2))) for rank in range(2)], 1
    ).flatten(0, 1)
    assert torch.equal(dealt, whole)


@pytest.mark.parametrize("name", EACH)
def test_chance_is_the_samples_and_plays_a_part_but_where_importance_decides(name: str):
    masking, patches = make_masking(EACH[name]), asked()
    assert torch.equal(masking(patches), masking(patches))
    otherwise = masking(replace(patches, chance=keys(5, range(6))))
    decided = EACH[name].kind in ("threshold", "rf-gam")
    assert torch.equal(masking(patches), otherwise) == decided


@pytest.mark.parametrize("kind", ["threshold", "rf-gam"])
def test_a_recipe_says_how_alike_patches_are_and_how_far_a_source_reaches(kind: Any):
    patches = asked()
    plain = make_masking(MaskingConfig(kind=kind, ratio=0.6))(patches)
    for changes in ({"normalised": False}, {"sigma": 3.0}):
        other = make_masking(MaskingConfig.model_validate({"kind": kind, "ratio": 0.6, **changes}))
        differs = not torch.equal(plain, other(patches))
        assert differs == (kind == "rf-gam" or "normalised" in changes)


@pytest.mark.parametrize("name", EACH)
def test_a_masking_reads_nothing_on_the_host(name: str):
    with Refuse():
        make_masking(EACH[name])(asked())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"adaptive": "image"}, "masking.kind=salience"),
        ({"kind": "salience", "adaptive": "image", "ratio": 0.95}, "lower masking.spread"),
        ({"kind": "coloured", "sigma": 2.0}, "raise masking.wider_sigma"),
        ({"kind": "loss-guided", "guided_start": 0.9}, "raise masking.guided_end"),
        ({"kind": "random"}, "uniform"),
        ({"ratio": 1.0}, "less than 1"),
    ],
)
def test_what_does_not_fit_together_is_refused(options: dict[str, Any], says: str):
    with pytest.raises(ValidationError, match=says):
        MaskingConfig(**options)


def test_only_what_is_guided_by_losses_expects_them():
    assert [k for k in MASKINGS if MaskingConfig(kind=k).expects_losses] == ["loss-guided"]  # type: ignore[arg-type]
